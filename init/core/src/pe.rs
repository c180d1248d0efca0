//! Sections of a unified kernel image (PE/COFF).

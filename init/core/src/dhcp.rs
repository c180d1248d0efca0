//! DHCPv4 client decisions (RFC 2131): leases, renewal, rebinding.

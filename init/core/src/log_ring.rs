//! A bounded log for each service: the newest bytes stay, readers follow by position.

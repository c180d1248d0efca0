//! Network devices and addresses: netdevice(7), packet(7).

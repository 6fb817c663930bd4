//! DNS: finds the addresses of names (S-2).

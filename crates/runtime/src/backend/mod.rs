//! Where bottles can be made. Backends do not know of each other.

pub mod namespace;

//! The host side of a bottle's doors: the only process that parses what the agent sends and that holds its secrets.

pub mod address;
pub mod audit;
pub mod ca;
pub mod confine;
pub mod limits;
pub mod resolver;
pub mod synthetic;
pub mod vault;

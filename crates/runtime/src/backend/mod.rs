//! Where bottles can be made. Backends do not know of each other; what is the same for all is in [`room`].

#[cfg(feature = "docker")]
pub mod docker;
#[cfg(not(feature = "docker"))]
#[path = "without_docker.rs"]
pub mod docker;
pub mod namespace;
pub mod room;
pub mod roots;
pub mod smolmachines;

mod carried;
mod etc;
mod relay;
mod system;

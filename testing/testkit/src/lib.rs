//! What the tests and the demo share: upstreams that answer on loopback, and places to run a bottle in.
//!
//! Nothing here talks to anything but loopback, and everything ends when its value is dropped. Meant for tests: what
//! cannot be set up panics with the reason.

pub mod authority;
pub mod engine;
pub mod env;
pub mod git;
pub mod git_servers;
pub mod image_registry;
pub mod login_server;
pub mod model_api;
pub mod open_proxy;
pub mod registries;
pub mod smolvm;
pub mod traps;
pub mod upstream;
pub mod wait;

pub use authority::TestAuthority;
pub use engine::Engine;
pub use env::{Ran, Running, TestEnv};
pub use git::GitRepository;
pub use git_servers::{GitWeb, Sshd};
pub use image_registry::ImageRegistry;
pub use login_server::LoginServer;
pub use model_api::FakeModelApi;
pub use open_proxy::OpenProxy;
pub use smolvm::Machines;
pub use traps::Traps;
pub use upstream::{Seen, TlsUpstream, scripted::ScriptedUpstream};
pub use wait::{comes_within, wait_for, wait_until};

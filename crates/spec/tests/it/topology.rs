//! Who says how a container's doors get out, and what comes of it.

use crate::{flag, host, run};
use bottle_spec::{
    facts::{EngineFacts, HostFacts},
    manifest::Mistakes,
    plan::Plan,
    topology::Topology,
};

fn on(backend: &str, usual: Topology, topology: Option<&str>) -> Result<Plan, Mistakes> {
    let engine = EngineFacts { image_id: "sha256:0".to_owned(), topology: usual, ..EngineFacts::default() };
    let host = HostFacts { engine: Some(engine), ..host() };
    let image = if backend == "docker" { "debian:bookworm" } else { "host" };
    let edit = |flags: &mut bottle_spec::request::Flags| {
        flags.overrides.backend = flag("backend", backend);
        flags.overrides.image = flag("image", image);
        flags.overrides.topology = topology.and_then(|topology| flag("topology", topology));
    };
    run(edit, &host)
}

#[test]
fn the_engine_decides_where_nobody_said() {
    for (_, usual) in Topology::ALL {
        assert_eq!(on("docker", usual, None).unwrap().topology, usual);
        assert_eq!(on("docker", usual, Some("stream")).unwrap().topology, Topology::Stream);
        assert_eq!(on("docker", usual, Some("sent")).unwrap().topology, Topology::Sent);
    }
    assert_eq!(on("namespace", Topology::Socket, None).unwrap().topology, Topology::Socket);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (backend, usual, topology, says) in [
        ("docker", Topology::Stream, "socket", "use `stream`"),
        ("docker", Topology::Sent, "socket", "use `sent`"),
        ("namespace", Topology::Socket, "stream", "the namespace backend has no topologies"),
        ("docker", Topology::Socket, "sidecar", "a topology is socket, stream or sent"),
    ] {
        let refused = on(backend, usual, Some(topology)).unwrap_err().to_string();
        assert!(refused.contains(says), "{backend} {topology}: {refused}");
    }
}

#[test]
fn an_agent_names_its_topology_and_a_plan_without_one_is_of_sockets() {
    let text = "---\nbottle: dev\nprovider: claude\nbackend: docker\ntopology: stream\n---\nHello.\n";
    let agent = crate::agent(text).unwrap();
    assert_eq!(agent.topology.map(|topology| topology.value), Some(Topology::Stream));
    let plan = serde_json::to_value(on("docker", Topology::Socket, None).unwrap()).unwrap();
    assert!(plan.get("topology").is_none(), "plans of before can still be read by those of before");
    assert_eq!(serde_json::from_value::<Plan>(plan).unwrap().topology, Topology::Socket);
}

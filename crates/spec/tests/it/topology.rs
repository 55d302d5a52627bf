//! Who says how a container's doors get out, and what comes of it.

use crate::{flag, host, run};
use bottle_spec::{
    facts::{EngineFacts, HostFacts},
    manifest::Mistakes,
    plan::Plan,
    topology::Topology,
};

fn on(backend: &str, elsewhere: bool, topology: Option<&str>) -> Result<Plan, Mistakes> {
    let engine = EngineFacts { image_id: "sha256:0".to_owned(), elsewhere, ..EngineFacts::default() };
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
    for (elsewhere, expected) in [(false, Topology::Socket), (true, Topology::Stream)] {
        assert_eq!(on("docker", elsewhere, None).unwrap().topology, expected);
    }
    assert_eq!(on("docker", false, Some("stream")).unwrap().topology, Topology::Stream);
    assert_eq!(on("namespace", false, None).unwrap().topology, Topology::Socket);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (backend, elsewhere, topology, says) in [
        ("docker", true, "socket", "use `stream`"),
        ("namespace", false, "stream", "the namespace backend has no topologies"),
        ("docker", false, "sidecar", "a topology is socket or stream"),
    ] {
        let refused = on(backend, elsewhere, Some(topology)).unwrap_err().to_string();
        assert!(refused.contains(says), "{backend} {topology}: {refused}");
    }
}

#[test]
fn an_agent_names_its_topology_and_a_plan_without_one_is_of_sockets() {
    let text = "---\nbottle: dev\nprovider: claude\nbackend: docker\ntopology: stream\n---\nHello.\n";
    let agent = crate::agent(text).unwrap();
    assert_eq!(agent.topology.map(|topology| topology.value), Some(Topology::Stream));
    let plan = serde_json::to_value(on("docker", false, None).unwrap()).unwrap();
    assert!(plan.get("topology").is_none(), "plans of before can still be read by those of before");
    assert_eq!(serde_json::from_value::<Plan>(plan).unwrap().topology, Topology::Socket);
}

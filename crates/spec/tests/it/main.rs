//! Manifests, schemas and resolving from outside of the crate: what a user writes and what comes of it.

mod topology;

use bottle_spec::{
    facts::{AgentProgram, HostFacts, PathKind, SmolvmFacts},
    manifest::{
        AGENT_SCHEMA, AGENT_TABLES, Agent, BOTTLE_SCHEMA, BOTTLE_TABLES, Bottle, CONFIG_SCHEMA, CONFIG_TABLES, Keys,
        Mistakes, PROVIDER_SCHEMA, PROVIDER_TABLES, Place, Placed,
    },
    plan::{Plan, Workspace},
    provider::{Provider, Providers},
    request::{Flags, Overrides, Request},
    resolve::resolve,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const EXAMPLE_AGENT: &str = include_str!("../../../../examples/agents/example.md");
const EXAMPLE_BOTTLE: &str = include_str!("../../../../examples/bottles/example.yaml");

fn bottle(text: &str) -> Result<Bottle, Mistakes> {
    Bottle::parse("dev", Path::new("/cfg/bottles/dev.yaml"), text)
}

fn agent(text: &str) -> Result<Agent, Mistakes> {
    Agent::parse("reviewer", Path::new("/cfg/agents/reviewer.md"), text, &Providers::default())
}

fn host() -> HostFacts {
    let text = |text: &str| text.to_owned();
    HostFacts {
        home: PathBuf::from("/home/u"),
        cwd: PathBuf::from("/home/u/app"),
        own: vec![PathBuf::from("/home/u/.config/bot-bottle"), PathBuf::from("/home/u/.local/state/bot-bottle")],
        euid: 1000,
        locale: BTreeMap::from([(text("LANG"), text("de_DE.UTF-8"))]),
        time_zone: Some(text("Europe/Berlin")),
        term: Some(text("xterm-kitty")),
        color_term: None,
        controllers: BTreeSet::from([text("cpu"), text("memory"), text("pids")]),
        user_namespaces_refused: None,
        programs: BTreeSet::from([text("bash"), text("git"), text("java")]),
        variables: BTreeSet::from([text("ANTHROPIC_API_KEY"), text("TOKEN")]),
        logins: BTreeMap::new(),
        agent_program: None,
        engine: None,
        smolvm: None,
        skills: BTreeMap::from([(text("pdf"), PathBuf::from("/home/u/.config/bot-bottle/skills/pdf"))]),
        paths: BTreeMap::from([
            (PathBuf::from("/home/u"), PathKind::Directory),
            (PathBuf::from("/home/u/app"), PathKind::Directory),
            (PathBuf::from("/home/u/data"), PathKind::Directory),
            (PathBuf::from("/home/u/ca.pem"), PathKind::File),
            (PathBuf::from("/run/docker.sock"), PathKind::Other),
        ]),
    }
}

fn start(agent: Agent, bottle: Bottle, host: &HostFacts) -> Result<Plan, Mistakes> {
    resolve(&Request::of_agent(agent, bottle, &Overrides::default())?, host)
}

fn run(edit: impl FnOnce(&mut Flags), host: &HostFacts) -> Result<Plan, Mistakes> {
    let mut flags = Flags { command: vec!["curl".to_owned(), "https://a.test".to_owned()], ..Flags::default() };
    edit(&mut flags);
    resolve(&flags.request()?, host)
}

fn flag(name: &str, value: &str) -> Option<Placed<String>> {
    Some(Placed { value: value.to_owned(), place: Place::Flag(format!("--{name} {value}")) })
}

#[test]
fn every_mistake_of_a_bottle_at_once() {
    let text = "\
image: -rf
evn: { A: 1 }
env: { 1A: x, B: [y] }
mounts: [/a, /b:/etc/x, ~/c:/c:rx]
egress:
  routes:
    - hots: a.test
    - host: 169.254.169.254
    - host: api.test
      methods:
    - host: api.test
      methods: GET
      paths: [repos, /a/../b, /a**]
    - host: raw.test
      tls: passthrough
      methods: [GET]
      auth: { scheme: bearer, secret: env:TOKEN }
    - host: key.test:8443
      ports: [443]
      auth: { header: x-api-key, secret: sk-ant-verysecret }
    - host: two.test
      auth: { header: a, query: b, secret: env:T }
      private: perhaps
    - host: \"a.*.test\"
      tls: intercpet
    - host: raw2.test
      tls: passthrough
      on_finding: log
    - { host: find.test, on_finding: blocked, exempt: jwt, inbound: scold }
    - { host: find2.test, exempt: [[jwt]] }
  resolve: { a.test: 127.0.0.1, 10.0.0.1: \"127.0.0.1:1\" }
  upstream_proxy: http://u:verysecret@proxy.test:3128
git:
  - name: app
    upstream: \"ext::sh -c id\"
  - { name: two, upstream: \"https://u:verysecret@git.test/x\", auth: { query: q, secret: env:T } }
  - { name: three, upstream: /x, push: { refs: [heads/x, \"refs/*\"], delete: perhaps } }
limits: { cpus: many, memory: 4G, pids: 0, disc: 1GiB }
protect: [env:T, verysecret]
canaries: no
budgets: { period: 1y, bytes: 12, requests: 0, hosts: -1, entropy: 2, per_host: { bytes: } }
ports: [0, 99999]
ports: [3000]
supervise: yes
";
    let mistakes = bottle(text).unwrap_err();
    assert!(!mistakes.to_string().contains("verysecret"), "a secret written by mistake is not repeated");
    insta::assert_snapshot!(mistakes);
}

#[test]
fn every_mistake_of_an_agent_at_once() {
    let text = "---\nbotle: dev\nprovider: cluade\ncommand: []\nskills: pdf\nbackend: dokcer\nenv: [A]\n---\nHello\n";
    insta::assert_snapshot!(agent(text).unwrap_err());
    for text in
        ["", "hello", "---\nbottle: dev\n", "---\n---\nx", "---\na: [\n---\n", "---\nbottle: ../x\ncommand: [a]\n---"]
    {
        assert!(agent(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn a_key_without_a_value_never_widens() {
    for text in [
        "egress: { routes: [{ host: a.test, methods: }] }",
        "egress: { routes: [{ host: a.test, paths: ~ }] }",
        "egress: { routes: [{ host: a.test, ports: }] }",
        "limits: { memory: }",
        "egress: { routes: [{ host: a.test, methods: [] }] }",
        "egress: { routes: [{ host: a.test, paths: [] }] }",
    ] {
        assert!(bottle(text).is_err(), "{text} was taken");
    }
    for text in ["", "# nothing\n", "egress:", "egress: { routes: }", "~"] {
        assert_eq!(bottle(text).unwrap().egress.routes, []);
    }
}

#[test]
fn the_examples_are_sound() {
    let agent = agent(EXAMPLE_AGENT).unwrap();
    assert_eq!(agent.bottle.value, "example");
    let plan = start(agent, bottle(EXAMPLE_BOTTLE).unwrap(), &host()).unwrap();
    assert_eq!(plan.egress.routes.len(), 1);
    // What is commented out is as sound as what is not.
    let open = |line: &str| line.replacen("# ", "", 1);
    let is_yaml = |line: &&str| {
        let bare = line.trim_start();
        !bare.starts_with("# ")
            || bare.starts_with("# - ")
            || bare.starts_with("#   ")
            || bare.starts_with("# l")
            || bare.starts_with("# ports: [")
            || bare.starts_with("# protect: [")
            || bare.starts_with("# mounts:")
    };
    let all: String = EXAMPLE_BOTTLE.lines().filter(is_yaml).map(|line| open(line) + "\n").collect();
    let bottle = bottle(&all).unwrap();
    assert_eq!((bottle.egress.routes.len(), bottle.mounts.len(), bottle.ports.len()), (6, 1, 1), "{all}");
    assert_eq!(bottle.protect.len(), 2);
}

/// Each table of keys that the walker knows is one closed object of the schema, with the same keys; and there is no
/// closed object in the schema that the walker does not know.
#[test]
fn schema_and_walker_know_the_same_keys() {
    let all = [
        (BOTTLE_SCHEMA, BOTTLE_TABLES),
        (AGENT_SCHEMA, AGENT_TABLES),
        (CONFIG_SCHEMA, CONFIG_TABLES),
        (PROVIDER_SCHEMA, PROVIDER_TABLES),
    ];
    for (schema, tables) in all {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let mut objects = Vec::new();
        closed_objects(&schema, &mut objects);
        let names = |keys: &Keys| keys.names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mut known: Vec<BTreeSet<String>> = tables.iter().map(names).collect();
        objects.sort();
        known.sort();
        assert_eq!(objects, known);
    }
}

fn closed_objects(schema: &Value, found: &mut Vec<BTreeSet<String>>) {
    match schema {
        Value::Object(object) => {
            if object.get("additionalProperties") == Some(&Value::Bool(false)) {
                let properties = object["properties"].as_object().unwrap();
                found.push(properties.keys().cloned().collect());
            }
            object.values().for_each(|value| closed_objects(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| closed_objects(value, found)),
        _ => {}
    }
}

#[test]
fn a_manifest_becomes_a_plan() {
    let agent = agent(
        "---\nbottle: dev\nprovider: claude\nenv: { LANG: C.UTF-8, EXTRA: 010 }\n---\n\nYou review pull requests.\n",
    )
    .unwrap();
    let bottle = bottle(
        "\
env: { EXTRA: bottle, SHARED: no }
mounts: [\"~/data:/data\"]
egress:
  routes:
    - host: api.anthropic.com
      auth: { header: X-Api-Key, secret: env:ANTHROPIC_API_KEY }
    - host: API.GitHub.com
      methods: [get]
      paths: [/repos/acme/app/**]
      auth: { scheme: bearer, secret: \"command:gh auth token\" }
    - host: \"*.pythonhosted.org:8443\"
      auth: { query: key, secret: file:token }
    - { host: raw.test, tls: passthrough }
    - { host: model.test, on_finding: redact, exempt: [jwt, known-secret], inbound: strip }
  upstream_ca: ~/ca.pem
  resolve: { api.internal.test: \"127.0.0.1:9443\" }
  upstream_proxy: { url: \"http://proxy.corp:3128\", auth: env:TOKEN }
limits: { cpus: 1.5, memory: 4GiB, pids: 512, disk: 10GiB }
ports: [3000, 3000, 80]
protect: [\"file:~/.netrc\", env:TOKEN, \"command:pass show db\"]
canaries: false
",
    )
    .unwrap();
    let plan = start(agent, bottle, &host()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn flags_become_a_plan() {
    let plan = run(
        |flags| {
            flags.allow =
                vec!["api.test:GET/path/**".to_owned(), "api.test:POST".to_owned(), "*.b.test:8443".to_owned()];
            flags.auth = vec!["api.test=bearer:env:TOKEN".to_owned()];
            flags.resolve = vec!["api.test=127.0.0.1:9443".to_owned()];
            flags.mounts = vec!["../data:/data:rw".to_owned()];
            flags.env = vec!["A=b=c".to_owned()];
            flags.overrides.workspace = flag("workspace", "copy");
            flags.protect = vec!["env:ANTHROPIC_API_KEY".to_owned(), "env:TOKEN".to_owned()];
            flags.on_finding = vec!["*.b.test=log".to_owned()];
            flags.exempt = vec!["api.test=jwt,slack-token".to_owned()];
        },
        &host(),
    )
    .unwrap();
    assert!(!plan.env.contains_key("ANTHROPIC_API_KEY"), "what is only protected has no placeholder inside");
    assert_eq!(plan.env["TOKEN"], "bot-bottle-placeholder-TOKEN");
    assert_eq!(plan.env["A"], "b=c");
    let injected: Vec<bool> = plan.secrets.iter().map(|secret| secret.injected).collect();
    assert_eq!(injected, [true, false]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&(&plan.egress, &plan.mounts, &plan.workspace)).unwrap());
}

#[test]
fn a_variable_that_is_set_goes_before_the_placeholder() {
    let edit = |flags: &mut Flags| {
        flags.allow = vec!["a.test".to_owned()];
        flags.auth = vec!["a.test=bearer:env:TOKEN".to_owned()];
        flags.env = vec!["TOKEN=mine".to_owned()];
    };
    assert_eq!(run(edit, &host()).unwrap().env["TOKEN"], "mine");
}

#[test]
fn what_cannot_be_given_is_refused_and_not_dropped() {
    let agent = agent("---\nbottle: dev\nprovider: codex\nskills: [pdf]\nbackend: docker\n---\n").unwrap();
    let bottle = bottle(
        "\
image: debian:13
mounts: [/nonexistent:/x, /run/docker.sock:/docker.sock, \"~:/host:rw\", \"~:/host2\"]
egress:
  upstream_ca: [missing.pem]
  routes: [{ host: a.test, auth: { scheme: bearer, secret: env:ABSENT } }]
git:
  - { name: app, upstream: \"git@github.com:acme/app.git\", identity_file: missing.key }
  - { name: app, upstream: /srv/missing.git }
  - { name: two, upstream: \"https://git.test/x\", identity_file: ca.pem, push: { refs: [\"refs/heads/agent/*\"] } }
supervise: true
canaries: true
budgets: { bytes: 1GiB }
",
    )
    .unwrap();
    insta::assert_snapshot!(start(agent, bottle, &host()).unwrap_err());
}

#[test]
fn a_bottle_cannot_write_to_what_decides_about_it() {
    for source in ["/", "/home/u", "~/.config/bot-bottle", "~/.config/bot-bottle/bottles", "~/.local/state"] {
        let mut host = host();
        host.paths.insert(host.absolute(Path::new(source), Path::new("/")), PathKind::Directory);
        let mounted = |text: String| run(|flags| flags.mounts = vec![text], &host);
        assert!(mounted(format!("{source}:/x:rw")).is_err(), "{source} was given");
        assert_eq!(mounted(format!("{source}:/x")).unwrap().notices.len(), 1, "{source}");
    }
    let mut at_home = host();
    at_home.cwd = at_home.home.clone();
    let on = |host: &HostFacts, mode: &str| run(|flags| flags.overrides.workspace = flag("workspace", mode), host);
    let workspace = |mode: &str| on(&at_home, mode);
    assert!(workspace("mount").is_err());
    assert_eq!(workspace("copy").unwrap().notices.len(), 1);
    let mut with_git = at_home.clone();
    with_git.programs.insert("git".to_owned());
    let plan = on(&with_git, "clone").unwrap();
    assert_eq!((plan.notices.len(), plan.git.len()), (1, 1));
    let mut without = at_home.clone();
    without.programs.remove("git");
    assert!(on(&without, "clone").is_err(), "there is no git to clone with");
}

#[test]
fn a_warm_start_is_for_machines_alone() {
    let engine = bottle_spec::facts::EngineFacts { image_id: "sha256:0".to_owned(), ..Default::default() };
    let smolvm = Some(SmolvmFacts { version: "1.32.2".to_owned(), notice: None });
    let host = HostFacts { smolvm, engine: Some(engine), ..host() };
    let with = |backend: &str, text: &str| {
        let text_of_agent =
            format!("---\nbottle: dev\nprovider: command\ncommand: [x]\nbackend: {backend}\n---\nHello.\n");
        let image = if backend == "smolmachines" { "image: debian:bookworm\n" } else { "" };
        start(agent(&text_of_agent).unwrap(), bottle(&format!("{text}{image}")).unwrap(), &host)
    };
    let warm = |plan: bottle_spec::plan::Plan| plan.machine.map(|machine| machine.warm);
    assert_eq!(warm(with("smolmachines", "warm: true\n").unwrap()), Some(true));
    assert_eq!(warm(with("smolmachines", "warm: false\n").unwrap()), Some(false));
    assert_eq!(warm(with("smolmachines", "").unwrap()), Some(false));
    let refused = with("namespace", "warm: true\n").unwrap_err().to_string();
    assert!(refused.contains("starts no bottle warm") && refused.contains("dev.yaml:1"), "{refused}");
    with("namespace", "warm: false\n").unwrap();
    assert!(bottle("warm: maybe\n").is_err());
}

#[test]
fn what_is_to_be_known_of_smolvm_is_noted() {
    let engine = bottle_spec::facts::EngineFacts { image_id: "sha256:0".to_owned(), ..Default::default() };
    let plan = |notice: Option<&str>| {
        let smolvm = Some(SmolvmFacts { version: "1.32.2".to_owned(), notice: notice.map(str::to_owned) });
        let host = HostFacts { smolvm, engine: Some(engine.clone()), ..host() };
        let edit = |flags: &mut Flags| {
            flags.overrides.backend = flag("backend", "smolmachines");
            flags.overrides.image = flag("image", "debian:bookworm");
        };
        let plan = run(edit, &host).unwrap();
        assert_eq!(plan.machine.as_ref().map(|machine| machine.smolvm.as_str()), Some("1.32.2"));
        assert_eq!(run(|_| (), &host).unwrap().machine, None, "another backend makes none");
        plan.notices.join("; ")
    };
    assert!(plan(Some("smolvm is old")).contains("smolvm is old"));
    assert!(!plan(None).contains("smolvm"));
}

#[test]
fn a_repository_is_cloned_where_nothing_else_is_said() {
    let workspace = |host: &HostFacts| run(|_| (), host).unwrap().workspace;
    let mut in_repository = host();
    in_repository.programs.insert("git".to_owned());
    assert_eq!(workspace(&in_repository), Workspace::None);
    for cwd in ["/home/u/app", "/home/u", "/home"] {
        in_repository.cwd = PathBuf::from(cwd);
        in_repository.paths.insert(PathBuf::from(cwd), PathKind::Directory);
        in_repository.paths.insert(Path::new(cwd).join(".git"), PathKind::Directory);
    }
    // A home that is kept in git is not given away unasked.
    assert_eq!(workspace(&in_repository), Workspace::None);
    in_repository.cwd = PathBuf::from("/home/u/app");
    assert_eq!(workspace(&in_repository), Workspace::Clone { source: "/home/u/app".into() });
    in_repository.programs.remove("git");
    assert_eq!(workspace(&in_repository), Workspace::None);
}

#[test]
fn what_this_host_lacks_is_said() {
    let mut host = host();
    host.controllers.clear();
    let limits = "limits: { cpus: 2, memory: 4GiB, pids: 512, disk: 1GiB }";
    let agent = || agent("---\nbottle: dev\ncommand: [true]\n---\n").unwrap();
    let plan = start(agent(), bottle(limits).unwrap(), &host).unwrap();
    assert_eq!(plan.notices.len(), 3, "{:?}", plan.notices);
    host.user_namespaces_refused = Some("the setting user.max_user_namespaces is 0".to_owned());
    let mistakes = start(agent(), bottle("").unwrap(), &host).unwrap_err();
    assert!(mistakes.all_of_host(), "{mistakes}");
}

#[test]
fn hostile_text_reaches_no_terminal() {
    let text = "\u{1b}]0;owned\u{7}: 1\n\"\\e[31m\u{202e}\": 2\n";
    let shown = bottle(text).unwrap_err().to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
}

/// What comes with the product reads without a mistake, and its texts hold together.
#[test]
fn the_built_in_providers_are_sound() {
    let providers = Providers::default();
    assert_eq!(providers.names(), ["aider", "claude", "codex", "command", "gemini", "opencode", "pi"]);
    for name in providers.names().iter().filter(|name| *name != "command") {
        let text = Providers::built_in(name).unwrap();
        let read = Provider::parse(name, Path::new(name), text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(read.headless.as_ref().is_some_and(|mode| mode.resume.is_some()), "{name}");
        assert!(read.headless.unwrap().part.args.iter().any(|word| word.contains("${TASK}")), "{name}");
        for file in read.part.files.iter().chain(&read.mcp.files).filter(|file| file.path.ends_with(".json")) {
            serde_json::from_str::<Value>(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        }
    }
}

#[test]
fn every_mistake_of_a_provider_at_once() {
    let text = "\
program: /usr/bin/agent
args: [\"${TAKS}\", [x]]
env: { A: \"${}\", 1B: x }
files:
  - { path: ../../etc/passwd, text: x }
  - { path: /etc/passwd, text: x }
  - { path: .a }
interactive: { resmue: [x] }
headless: [x]
skills: \"\"
auth:
  - env: { A: b }
  - routes: [{ host: a.test }]
  - { routes: [{ host: a.test, auth: { scheme: bearer, secret: sk-verysecret } }] }
routes: [{ hots: a.test }]
logs: [/var/log/x]
";
    let mistakes = Provider::parse("agent", Path::new("/cfg/providers/agent.yaml"), text).unwrap_err();
    assert!(!mistakes.to_string().contains("verysecret"));
    insta::assert_snapshot!(mistakes);
    for text in ["", "{}", "- a", "program: [x]"] {
        assert!(Provider::parse("agent", Path::new("/p"), text).is_err(), "{text:?} was taken");
    }
}

/// With a provider of the user's own.
fn started(
    provider: &str,
    bottle_text: &str,
    edit: impl FnOnce(&mut Overrides, &mut HostFacts),
) -> Result<Plan, Mistakes> {
    let provider = Provider::parse("mine", Path::new("/cfg/providers/mine.yaml"), provider)?;
    let providers = Providers::with(vec![provider], vec!["mine".to_owned()]);
    let text = "---\nbottle: dev\nprovider: mine\nskills: [pdf]\n---\nBe ${TASK} kind.\n";
    let agent = Agent::parse("reviewer", Path::new("/cfg/agents/reviewer.md"), text, &providers)?;
    let (mut overrides, mut host) = (Overrides::default(), host());
    edit(&mut overrides, &mut host);
    resolve(&Request::of_agent(agent, bottle(bottle_text)?, &overrides)?, &host)
}

const MINE: &str = "\
program: mine
args: [--yolo]
env: { CALM: \"1\" }
files: [{ path: .mine.json, text: '{\"cwd\": \"${CWD}\", \"tail\": \"${PLACEHOLDER_TAIL}\"}' }]
interactive: { resume: [--continue] }
headless: { command: [exec], resume: [again], args: [--, \"do ${TASK}\"] }
prompt: { args: [--system, \"${PROMPT}\"] }
mcp: { args: [--mcp, \"${MCP_URL}\"] }
skills: .mine/skills
auth:
  - { routes: [{ host: api.mine.test, auth: { header: x-key, secret: env:MINE_KEY } }], env: { MINE: \"${PLACEHOLDER}\" } }
  - { routes: [{ host: api.mine.test, auth: { scheme: bearer, secret: env:TOKEN } }], env: { MINE_TOKEN: \"${PLACEHOLDER}\" } }
routes: [{ host: docs.mine.test, methods: [GET] }]
";

#[test]
fn a_provider_gives_command_files_variables_and_routes() {
    let plan = started(MINE, "egress: { routes: [{ host: own.test }] }", |_, host| {
        host.agent_program = Some(AgentProgram {
            path: PathBuf::from("/home/u/lib/node_modules/mine/cli.js"),
            shown: vec![PathBuf::from("/home/u/lib/node_modules")],
            folders: vec![PathBuf::from("/home/u/bin")],
        });
    })
    .unwrap();
    let own = ["env", "files", "provider", "command", "mounts", "skills", "egress", "secrets"];
    let mut plan = serde_json::to_value(plan).unwrap();
    let env = plan["env"].as_object_mut().unwrap();
    env.retain(|name, _| ["CALM", "MINE_TOKEN", "PATH", "TOKEN", "BOT_BOTTLE_PROMPT_FILE"].contains(&name.as_str()));
    plan.as_object_mut().unwrap().retain(|name, _| own.contains(&name.as_str()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn a_task_makes_it_headless_and_what_is_filled_in_stays_as_it_is() {
    let task = |overrides: &mut Overrides| overrides.task = flag("prompt", "${PROMPT} it");
    let plan = started(MINE, "supervise: false", |overrides, _| task(overrides)).unwrap();
    assert_eq!(plan.command[..4], ["mine", "exec", "--yolo", "--system"]);
    assert_eq!(plan.command[4..], ["Be ${TASK} kind.", "--", "do ${PROMPT} it"]);
    let again = plan.provider.resume_task.unwrap().with("more");
    assert_eq!(again[..3], ["mine", "exec", "again"]);
    assert_eq!(again[4..], ["--system", "Be ${TASK} kind.", "--", "do more"]);
    let without = MINE.replace("headless:", "interactive:").replacen("interactive: { resume: [--continue] }\n", "", 1);
    assert!(started(&without, "", |overrides, _| task(overrides)).unwrap_err().to_string().contains("takes no task"));
}

#[test]
fn the_bottles_own_route_says_which_credential_is_meant() {
    let own = |auth: &str| format!("egress: {{ routes: [{{ host: api.mine.test, paths: [/v1], {auth} }}] }}");
    let plan = |auth: &str| started(MINE, &own(auth), |_, _| ()).unwrap();
    let header = plan("auth: { header: x-key, secret: file:/k }");
    assert!(header.env["MINE"].starts_with("bot-bottle-placeholder-") && !header.env.contains_key("MINE_TOKEN"));
    let hosts = |plan: &Plan| plan.egress.routes.iter().map(|route| route.host.to_string()).collect::<Vec<_>>();
    assert_eq!(hosts(&header), ["api.mine.test", "docs.mine.test"], "nothing is added to a host the bottle speaks of");
    let bearer = plan("auth: { scheme: bearer, secret: \"command:token\" }");
    assert!(bearer.env.contains_key("MINE_TOKEN") && !bearer.env.contains_key("MINE"));
    let unsent = plan("methods: [POST]");
    assert!(unsent.secrets.is_empty() && unsent.notices.iter().any(|notice| notice.contains("no credential")));
    let none = started(MINE, "", |_, host| host.variables.clear()).unwrap_err();
    assert!(none.all_of_host(), "{none}");
    assert!(none.to_string().contains("none of MINE_KEY, TOKEN is set"), "{none}");
}

#[test]
fn skills_are_found_by_name_or_end_the_launch() {
    let plan = started(MINE, "", |overrides, _| overrides.skills_folder = flag("skills", ".elsewhere")).unwrap();
    assert_eq!(plan.provider.skills, Path::new("/home/agent/.elsewhere"));
    let missing = started(MINE, "", |_, host| host.skills.clear()).unwrap_err();
    assert!(missing.to_string().contains("there is no skill `pdf`"), "{missing}");
}

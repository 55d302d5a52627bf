//! Real agents, headless in a bottle, against fake models that take the injected key alone. All do the same: what the
//! model says, by the tools of their own, and the transcript shows the placeholder at most.

mod aider;
mod asks;
mod contained;
mod logins;
mod sessions;
mod terminal;

use crate::{stage, tools::cache};
use bottle_testkit::{
    FakeModelApi, GitRepository, Ran, TestEnv,
    model_api::{Dialect, Step},
};
use std::{path::PathBuf, time::Duration};

pub(crate) const KEY: &str = "sk-ant-that-stays-outside-51c0";
/// In the agent's prompt, and in no other text.
const PROMPT: &str = "Speak as the lighthouse keeper of Ostrava would.";
/// In the description of the agent's skill, and in no other text.
const SKILL: &str = "Reads the tide tables of Bohemia.";
const PATIENCE: Duration = Duration::from_secs(180);

/// The line of shell that the model has the agent run: a result that is in no text that anyone sent, a push, and a
/// request that is refused.
///
/// Without a substitution, which Gemini CLI takes for an attack.
const LINE: &str = "expr 40 + 2 | sed s/^/bottle-/; cd /tmp && git clone -q $GIT_GATE_URL/app app && cd app \
                    && echo new > new && git add new \
                    && git -c user.name=Agent -c user.email=agent@example.test commit -qm 'a new file' \
                    && git push -q origin HEAD:refs/heads/agent/one && expr 1 + 1 | sed s/^/pushed-/; curl -s https://";

/// One kind of agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// As the provider is called.
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    /// The variable of the host that holds its key.
    pub(crate) key: &'static str,
    /// Whether it has a client for MCP.
    pub(crate) mcp: bool,
    /// Whether it writes down what it says and does, line by line.
    pub(crate) transcript: bool,
    /// How everything begins that it asks for, host and path.
    pub(crate) asks: &'static str,
}

pub(crate) const CLAUDE: Kind = Kind {
    name: "claude",
    dialect: Dialect::Messages,
    key: "ANTHROPIC_API_KEY",
    mcp: true,
    transcript: true,
    asks: "api.anthropic.com/v1/messages",
};

const CODEX: Kind = Kind {
    name: "codex",
    dialect: Dialect::Responses,
    key: "OPENAI_API_KEY",
    mcp: true,
    transcript: true,
    asks: "api.openai.com/v1/responses",
};

/// A home in which an agent of this kind is described, and its model.
#[derive(Debug)]
pub(crate) struct AgentStage {
    pub(crate) env: TestEnv,
    pub(crate) api: FakeModelApi,
    upstream: GitRepository,
}

/// The folders of `PATH` that the clients are in.
fn folders() -> Option<Vec<PathBuf>> {
    let cache = cache()?;
    Some(["npm/node_modules/.bin", "aider/bin"].iter().map(|folder| cache.join(folder)).collect())
}

impl AgentStage {
    /// `None` where the client is not there, which is said.
    pub(crate) fn new(kind: Kind, script: Vec<Step>) -> Option<AgentStage> {
        let folders = folders().unwrap_or_default();
        if !folders.iter().any(|folder| folder.join(kind.name).exists()) {
            println!("SKIPPED(no {}): see scripts/install-test-needs", kind.name);
            return None;
        }
        Some(AgentStage::of(kind, script, TestEnv::new(stage::program()), ""))
    }

    /// With bottles of this environment, of which `more` is in the manifest as well.
    fn of(kind: Kind, script: Vec<Step>, mut env: TestEnv, more: &str) -> AgentStage {
        let folders = folders().unwrap_or_default();
        let api = FakeModelApi::start(kind.dialect, KEY, script);
        let path: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        env.set("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", path.join(":")));
        env.set(kind.key, KEY);
        let upstream = GitRepository::new(&env.work(), "app", env.user());
        let ca = env.write("config/upstream-ca.pem", api.upstream().authority().pem());
        env.bottle(
            "dev",
            &format!(
                "egress:\n  upstream_ca: {ca}\n  resolve: {{ {host}: \"{address}\" }}\n\
                 git:\n  - {{ name: app, upstream: \"{git}\", push: {{ refs: [\"refs/heads/agent/*\"], approval: allow }} }}\n{more}",
                ca = ca.display(),
                host = kind.dialect.host(),
                address = api.upstream().address(),
                git = upstream.path().display(),
            ),
        );
        env.write(
            "config/bot-bottle/skills/tide/SKILL.md",
            format!("---\nname: tide\ndescription: {SKILL}\n---\n\nLook them up.\n"),
        );
        env.write(
            "config/bot-bottle/agents/keeper.md",
            format!("---\nbottle: dev\nprovider: {}\nskills: [tide]\n---\n\n{PROMPT}\n", kind.name),
        );
        AgentStage { env, api, upstream }
    }

    #[track_caller]
    pub(crate) fn start(&self, arguments: &[&str]) -> Ran {
        self.env.spawn(&[&["start", "keeper", "--yes"], arguments].concat()).finish(PATIENCE)
    }

    /// Every request that the model read, as text.
    pub(crate) fn said(&self) -> String {
        self.api.said().iter().map(|request| format!("{request}\n")).collect()
    }
}

/// Everything that a bottle has for its agent, by one conversation, on this host.
fn does_it_all(kind: Kind) {
    let Some(stage) = AgentStage::new(kind, script(kind)) else { return };
    told_to(kind, &stage);
}

/// What the model says for it.
fn script(kind: Kind) -> Vec<Step> {
    let line = format!("{LINE}{}/refused; true", kind.dialect.host());
    let mut script = vec![Step::Shell(line)];
    if kind.mcp {
        script.push(Step::Mcp("policy"));
    }
    script
}

/// The conversation, wherever the bottle is made.
#[track_caller]
fn told_to(kind: Kind, stage: &AgentStage) {
    let ran = stage.start(&["--name", "keeper-aaaaa", "--prompt", "Do as you are told"]);
    let said = stage.said();
    let told = ran.success();
    assert!(told.contains("The tools said:") && told.contains("bottle-42"), "its tool ran: {ran}");
    assert!(told.contains("pushed-2") && stage.upstream.upstream("refs/heads/agent/one").is_some(), "{ran}");
    assert!(told.contains("_not_allowed"), "it reports what was refused: {ran}");
    assert!(!kind.mcp || told.contains("refs/heads/agent/*"), "the supervise door told its policy: {ran}");
    assert!(said.contains(PROMPT) && said.contains("Do as you are told"), "the model heard its prompt");
    assert!(said.contains(SKILL), "it sees its skill");
    let contacted = stage.api.contacted();
    assert!(!contacted.is_empty() && contacted.iter().all(|asked| asked.starts_with(kind.asks)), "{contacted:?}");
    let log = stage.env.run(&["logs", "--transcript", "keeper-aaaaa"]);
    for text in ["you: Do as you are told", "bottle-42", "agent: The tools said:"] {
        assert!(!kind.transcript || log.success().contains(text), "{text}: {log}");
    }
    for text in [&ran.stdout, &ran.stderr, &said, &log.stdout] {
        assert!(!text.contains(KEY), "the key stays outside");
    }
}

#[test]
fn claude_code() {
    does_it_all(CLAUDE);
}

#[test]
fn codex() {
    does_it_all(CODEX);
}

#[test]
fn opencode() {
    does_it_all(Kind { name: "opencode", transcript: false, ..CLAUDE });
}

#[test]
fn gemini() {
    let asks = "generativelanguage.googleapis.com/v1beta/models/gemini-";
    does_it_all(Kind {
        name: "gemini",
        dialect: Dialect::Gemini,
        key: "GEMINI_API_KEY",
        mcp: true,
        transcript: true,
        asks,
    });
}

#[test]
fn pi() {
    does_it_all(Kind { name: "pi", mcp: false, ..CLAUDE });
}

//! What a bottle is given before its agent starts.

use super::{Backend, Fixture, NAME};
use std::process::Command;

/// Read by the agent as a program of its own would: where the provider says it is, by the agent's own user.
pub(super) fn prompt_skills_and_authority_are_where_they_are_expected(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let env = it.env();
        env.bottle("plain", "env: { GREETING: good day }\n");
        env.write("config/bot-bottle/skills/tide/SKILL.md", "---\nname: tide\ndescription: tides\n---\n\nLook up.\n");
        let script = "cat /etc/bot-bottle/prompt.md; echo; cat ~/.agents/skills/tide/SKILL.md | tail -n 1; echo $GREETING; \
                      grep -c mcpServers /etc/bot-bottle/mcp.json; \
                      test $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) -gt 1 && \
                      grep -qF \"$(sed -n 2p /etc/bot-bottle/ca.pem)\" /etc/ssl/certs/ca-certificates.crt && echo trusted; \
                      (echo x >> /etc/bot-bottle/prompt.md) 2>/dev/null || echo read-only; \
                      (echo x >> /etc/ssl/certs/ca-certificates.crt) 2>/dev/null || echo read-only; \
                      head -n 1 /etc/passwd | cut -d: -f1; getent hosts x.test >/dev/null 2>&1; hostname";
        env.write(
            "config/bot-bottle/agents/mine.md",
            format!("---\nbottle: plain\nskills: [tide]\ncommand: [sh, -c, {script:?}]\n---\n\nBe kind.\n"),
        );
        let ran = env.run(&["start", "mine", "--yes", "--workspace", "none", "--name", NAME]);
        let expected = format!("Be kind.\nLook up.\ngood day\n1\ntrusted\nread-only\nread-only\nroot\n{NAME}\n");
        assert_eq!(ran.success(), expected, "{ran}");
    });
}

/// The key is in the memory of keeper and gate alone: what a bottle trusted is of no use to anybody after it.
pub(super) fn an_authority_ends_with_its_run(backend: Backend) {
    let Some(it) = Fixture::ordinary(backend) else { return };
    let env = it.env();
    let show = "cat /etc/bot-bottle/ca.pem";
    let first = env.run(&["run", "--no-canaries", "--keep", "--name", NAME, "--", "sh", "-c", show]);
    let first = first.success();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    let second = env.run(&["resume", NAME]);
    let second = second.success();
    assert_ne!(first, second, "a resumed bottle has another authority");
    let found = Command::new("grep")
        .args(["-rlE", "--exclude-dir=bin", "--exclude-dir=image", "PRIVATE KEY"])
        .arg(env.root())
        .output();
    assert_eq!(String::from_utf8_lossy(&found.expect("grep").stdout), "", "a key was written down");
    it.nothing_is_left();
}

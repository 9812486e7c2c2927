//! Any GGUF model of a hub: what its repository has, which file of it is meant, and where it is kept.

use std::path::PathBuf;

use serde::Deserialize;

use super::catalog::check_url;
use super::{Catalog, Got, Home, Model, Progress, Source, StoreError, get};

/// Block formats from the one that is taken unasked to those that are taken where nothing nearer is there.
const NEAREST: [&str; 18] = [
    "Q4_K_M", "Q4_K_S", "Q4_K_L", "Q5_K_M", "Q5_K_S", "Q4_1", "Q4_0", "IQ4_NL", "Q5_1", "Q5_0", "Q6_K",
    "Q3_K_L", "Q3_K_M", "Q8_0", "Q3_K_S", "Q2_K", "BF16", "F16",
];
/// The last resort.
const WHOLE: &str = "F32";
/// File with the name of what was taken where no format was asked for.
const TAKEN: &str = "taken.txt";
/// Largest list of files that is read.
#[cfg(feature = "fetch")]
const LONGEST_LIST: u64 = 8 << 20;

/// What `-hf` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// `owner/name`.
    pub repo: String,
    /// Block format, in capitals; none takes the nearest to Q4_K_M.
    pub quant: Option<String>,
}

impl std::str::FromStr for HubModel {
    type Err = String;

    /// `OWNER/REPO[:QUANT]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (repo, quant) = text.split_once(':').map_or((text, None), |(repo, quant)| (repo, Some(quant)));
        let sound = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !part.contains("..")
        };
        let parts: Vec<&str> = repo.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|part| sound(part)) || quant.is_some_and(|q| !sound(q)) {
            return Err(
                "write OWNER/REPO, or OWNER/REPO:QUANT, as in bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"
                    .into(),
            );
        }
        // The hub's own word for what is taken unasked.
        let quant = quant.filter(|quant| !quant.eq_ignore_ascii_case("latest")).map(str::to_ascii_uppercase);
        Ok(Self { repo: repo.into(), quant })
    }
}

impl std::fmt::Display for HubModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.quant {
            Some(quant) => write!(f, "{}:{quant}", self.repo),
            None => write!(f, "{}", self.repo),
        }
    }
}

/// A file of a repository, as the hub lists it.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    path: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

/// What is known of a large file.
#[derive(Clone, Debug, Deserialize)]
struct Lfs {
    /// Its sha256.
    oid: Option<String>,
    size: Option<u64>,
}

/// A model of a repository: one file, or the parts of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Candidate {
    /// Paths, in order.
    parts: Vec<String>,
}

/// The name of the folder that a repository's files are kept in.
pub const FOLDER: &str = "hub";

impl HubModel {
    /// Where the repository's files are kept.
    pub fn home(&self, home: &Home) -> Home {
        let models = home.models.join(FOLDER).join(self.repo.replace('/', "--"));
        Home { models, data: home.data.clone() }
    }

    /// The file, if it is here whole.
    pub fn present(&self, home: &Home) -> Option<PathBuf> {
        let folder = self.home(home).models;
        let names: Vec<String> = std::fs::read_dir(&folder)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_model(name))
            .collect();
        let all: Vec<Candidate> = candidates(names.iter().map(String::as_str))
            .into_iter()
            .filter(|candidate| complete(&candidate.parts))
            .collect();
        // What was taken unasked stays what is meant, whatever else was fetched since.
        let taken = std::fs::read_to_string(folder.join(TAKEN)).unwrap_or_default();
        let first = |candidate: &Candidate| candidate.parts.first().is_some_and(|part| part == taken.trim());
        let chosen = match &self.quant {
            None => all.iter().find(|c| first(c)).or_else(|| choose(&all, None)),
            Some(quant) => choose(&all, Some(quant)),
        };
        Some(folder.join(chosen?.parts.first()?))
    }

    /// Gets the model unless it is here; `force` fetches it again.
    pub fn get(
        &self,
        catalog: &Catalog,
        home: &Home,
        force: bool,
        progress: &mut dyn Progress,
    ) -> Result<Got, StoreError> {
        if let Some(path) = self.present(home)
            && !force
        {
            return Ok(Got { path, sha256: None });
        }
        let listed = self.list(catalog)?;
        let all = candidates(listed.iter().map(|file| file.path.as_str()).filter(|path| is_model(path)));
        let chosen = choose(&all, self.quant.as_deref()).ok_or_else(|| self.nothing(&all))?;
        let folder = self.home(home);
        let mut first = None;
        for part in &chosen.parts {
            let file = listed.iter().find(|file| file.path == *part).ok_or_else(|| self.nothing(&all))?;
            let got = get(catalog, &folder, &self.model(catalog, file)?, force, progress)?;
            first.get_or_insert(got);
        }
        if self.quant.is_none()
            && let Some(part) = chosen.parts.first()
        {
            let place = folder.models.join(TAKEN);
            std::fs::write(&place, base(part)).map_err(|e| StoreError::io(&place, e))?;
        }
        first.ok_or_else(|| self.nothing(&all))
    }

    /// A listed file as a model of the store.
    fn model(&self, catalog: &Catalog, file: &Listed) -> Result<Model, StoreError> {
        let url = catalog.hub.file(&self.repo, &file.path);
        check_url(&url).map_err(|why| StoreError::Remote { url: url.clone(), why })?;
        let lfs = file.lfs.as_ref();
        Ok(Model {
            name: format!("{self} ({})", base(&file.path)),
            aliases: vec![],
            about: String::new(),
            parameters: String::new(),
            format: quant_of(&file.path).unwrap_or_default().into(),
            file: base(&file.path).into(),
            size: lfs.and_then(|lfs| lfs.size).or(file.size),
            sha256: lfs.and_then(|lfs| lfs.oid.clone()).filter(|oid| is_sha256(oid)),
            base: false,
            terms: None,
            licence: String::new(),
            sources: vec![Source::Url { url }],
        })
    }

    #[cfg(feature = "fetch")]
    fn list(&self, catalog: &Catalog) -> Result<Vec<Listed>, StoreError> {
        let url = catalog.hub.list(&self.repo);
        let bad = |why: String| StoreError::Remote { url: url.clone(), why };
        check_url(&url).map_err(bad)?;
        let text = super::https::text(&url, LONGEST_LIST)?;
        serde_json::from_str(&text)
            .map_err(|error| bad(format!("the hub's list of files cannot be read: {error}")))
    }

    #[cfg(not(feature = "fetch"))]
    fn list(&self, catalog: &Catalog) -> Result<Vec<Listed>, StoreError> {
        let url = catalog.hub.list(&self.repo);
        Err(StoreError::Remote { url, why: "this build has no HTTPS (feature `fetch`)".into() })
    }

    /// What is said where the repository has nothing that fits.
    fn nothing(&self, all: &[Candidate]) -> StoreError {
        let there = all.iter().filter_map(|c| quant_of(c.parts.first()?)).map(str::to_owned).collect();
        StoreError::NotInRepository { repo: self.repo.clone(), quant: self.quant.clone(), there }
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The last part of a path in a repository.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a path is that of a language model, whose name is safe to use here.
fn is_model(path: &str) -> bool {
    let name = base(path).to_lowercase();
    let plain = |c: char| c.is_alphanumeric() || "._-+@ ".contains(c);
    name.ends_with(".gguf")
        && !name.starts_with(['.', '-'])
        && name.chars().all(plain)
        && !path.split('/').any(|part| part == "..")
        && !["mmproj", "imatrix"].iter().any(|other| name.contains(other))
}

/// `-00002-of-00003.gguf`: which part of how many, and the name before it.
fn part_of(path: &str) -> Option<(&str, u32, u32)> {
    let stem = path.get(..path.len().checked_sub(5)?)?;
    let (rest, all) = stem.rsplit_once("-of-")?;
    let (name, part) = rest.rsplit_once('-')?;
    (part.len() == 5 && all.len() == 5).then_some((name, part.parse().ok()?, all.parse().ok()?))
}

/// Files as models: parts of one belong together.
fn candidates<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Candidate> {
    let mut paths: Vec<&str> = paths.collect();
    paths.sort_unstable();
    let mut all: Vec<Candidate> = Vec::new();
    for path in paths {
        let name = part_of(path).map(|(name, ..)| name);
        let belongs = |candidate: &&mut Candidate| {
            let last = candidate.parts.last().and_then(|last| part_of(last));
            name.is_some() && last.map(|(name, ..)| name) == name
        };
        match all.last_mut().filter(belongs) {
            Some(candidate) => candidate.parts.push(path.to_owned()),
            None => all.push(Candidate { parts: vec![path.to_owned()] }),
        }
    }
    all
}

/// Whether all parts of a model are there.
fn complete(parts: &[String]) -> bool {
    let counted = |path: &String| part_of(path).map(|(_, _, all)| all as usize);
    parts.first().and_then(counted).is_none_or(|all| parts.len() == all)
}

/// The block format in a file's name.
fn quant_of(path: &str) -> Option<&'static str> {
    let name = base(path).to_ascii_uppercase();
    let formats = NEAREST.iter().chain([&WHOLE]).copied();
    // Q4_K_M before Q4_K.
    formats.filter(|format| has_word(&name, format)).max_by_key(|format| format.len())
}

/// Whether a word stands in a name by itself: `Q4_0` is not in `IQ4_0X`.
fn has_word(name: &str, word: &str) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        edge(name[..at].chars().next_back()) && edge(name[at + word.len()..].chars().next())
    })
}

/// The model of this format, or, where none is asked for, of the one nearest to Q4_K_M; or the only one there is.
fn choose<'a>(all: &'a [Candidate], quant: Option<&str>) -> Option<&'a Candidate> {
    let first =
        |candidate: &Candidate| candidate.parts.first().map_or("", String::as_str).to_ascii_uppercase();
    if let Some(quant) = quant {
        return all.iter().find(|candidate| has_word(base(&first(candidate)), quant));
    }
    let of = |format: &&str| all.iter().find(|candidate| quant_of(&first(candidate)) == Some(*format));
    NEAREST.iter().chain([&WHOLE]).find_map(of).or(match all {
        [only] => Some(only),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], quant: Option<&str>) -> Option<Vec<String>> {
        let all = candidates(files.iter().copied().filter(|path| is_model(path)));
        choose(&all, quant).map(|candidate| candidate.parts.clone())
    }

    #[test]
    fn the_nearest_format_is_taken_unless_one_is_asked_for() {
        let files =
            ["README.md", "m-Q8_0.gguf", "m-q4_k_m.gguf", "m-Q2_K.gguf", "m-IQ4_NL.gguf", "mmproj-F16.gguf"];
        assert_eq!(chosen(&files, None).unwrap(), ["m-q4_k_m.gguf"]);
        assert_eq!(chosen(&files, Some("Q8_0")).unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(chosen(&files, Some("Q5_K_M")), None, "what is asked for by name is not replaced");
        assert_eq!(chosen(&["m.F16.gguf", "m.Q6_K.gguf"], None).unwrap(), ["m.Q6_K.gguf"]);
        assert_eq!(chosen(&["ggml-model.gguf"], None).unwrap(), ["ggml-model.gguf"]);
        assert_eq!(chosen(&["a.gguf", "b.gguf"], None), None);
        assert_eq!(chosen(&["README.md", "../x-Q4_0.gguf", "mmproj-Q4_0.gguf"], None), None);
        let split = ["Q4/m-Q4_0-00001-of-00002.gguf", "Q4/m-Q4_0-00002-of-00002.gguf", "m-F16.gguf"];
        assert_eq!(chosen(&split, None).unwrap(), split[..2]);
        assert!(!complete(&chosen(&split[..1], None).unwrap()) && complete(&chosen(&split, None).unwrap()));
    }

    #[test]
    fn what_is_named_is_read_and_checked() {
        let read = |text: &str| text.parse::<HubModel>().map(|m| (m.repo, m.quant));
        assert_eq!(read("a/b-GGUF"), Ok(("a/b-GGUF".into(), None)));
        assert_eq!(read("a/b:q4_0"), Ok(("a/b".into(), Some("Q4_0".into()))));
        assert_eq!(read("a/b:latest").unwrap().1, None);
        for bad in ["a", "a/b/c", "../b", "a/..", "a/b:", "a/b:x/y", "/b", "a b/c"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

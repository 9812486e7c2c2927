use super::*;
use crate::io::{Access, FileSink, write_file};
use std::io::Write;

fn put_text(path: &Path, text: &str, existing: Existing) -> Result<Option<PathBuf>, IoError> {
    let manner = Manner { existing, access: Access::Ordinary };
    let fill =
        |out: &mut FileSink| out.0.write_all(text.as_bytes()).map_err(|e| IoError::system("write", path, e));
    write_file(path, manner, fill).map(|written| written.backup)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_there_stays_unless_it_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.gguf");
    assert_eq!(put_text(&path, "one", Existing::Refuse).unwrap(), None);
    let refused = put_text(&path, "two", Existing::Refuse);
    assert!(matches!(refused, Err(IoError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    for (text, kept) in [("two", "mine.1.gguf"), ("three", "mine.2.gguf")] {
        assert_eq!(put_text(&path, text, Existing::Keep).unwrap().unwrap().file_name().unwrap(), kept);
    }
    assert_eq!(put_text(&path, "three", Existing::Keep).unwrap(), None, "the same bytes are kept once");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!([read("mine.1.gguf"), read("mine.2.gguf"), read("mine.gguf")], ["one", "two", "three"]);
    assert_eq!(put_text(&path, "four", Existing::Replace).unwrap(), None);
    assert_eq!(names(dir.path()), ["mine.1.gguf", "mine.2.gguf", "mine.gguf"]);
    // An empty file, such as mktemp makes, has nothing to lose.
    let empty = dir.path().join("empty");
    fs::write(&empty, b"").unwrap();
    put_text(&empty, "filled", Existing::Refuse).unwrap();
    assert_eq!(read("empty"), "filled");
}

#[test]
fn names_that_cannot_be_files_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), b"x").unwrap();
    fs::create_dir(at("folder")).unwrap();
    let refused = |path: &Path| {
        let error = put_text(path, "new", Existing::Keep).unwrap_err();
        assert_eq!(check(path, Existing::Keep).unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    for name in ["..", "folder/..", "folder/.", "folder/", "missing/"] {
        assert!(refused(&at(name)).contains("no file name"), "{name}");
    }
    assert!(refused(Path::new("")).contains("no file name"));
    assert!(refused(&at("folder")).contains("is a folder"));
    assert!(refused(&at("file/inside")).contains("a file, not a folder"));
    assert!(refused(&at("missing/inside")).contains("there is no folder"));
    let long = "n".repeat(300);
    assert!(refused(&at(&long)).contains("too long"), "{}", refused(&at(&long)));
    // The longest name that can be one can be written.
    let longest = "n".repeat(255);
    put_text(&at(&longest), "new", Existing::Refuse).unwrap();
    put_text(&at("..."), "new", Existing::Refuse).unwrap();
    assert_eq!(names(dir.path()), ["...", "file", "folder", longest.as_str()]);
}

#[cfg(unix)]
#[test]
fn only_plain_files_are_written() {
    use std::os::unix::fs::FileTypeExt;
    let dir = tempfile::tempdir().unwrap();
    let (pipe, socket) = (dir.path().join("pipe"), dir.path().join("socket"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::symlink(&pipe, dir.path().join("link")).unwrap();
    for (name, what) in [("pipe", "a pipe"), ("socket", "a socket"), ("link", "a pipe")] {
        for existing in [Existing::Replace, Existing::Refuse, Existing::Keep] {
            let error = put_text(&dir.path().join(name), "new", existing).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(names(dir.path()), ["link", "pipe", "socket"]);
}

#[cfg(unix)]
#[test]
fn links_stay_and_what_they_name_is_written() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("store")).unwrap();
    fs::write(at("store/real"), b"old").unwrap();
    symlink("store/real", at("link")).unwrap();
    symlink("store/new", at("dangling")).unwrap();
    symlink("dangling", at("twice")).unwrap();
    symlink("nowhere/x", at("lost")).unwrap();
    symlink("round", at("round")).unwrap();
    assert!(matches!(put_text(&at("link"), "x", Existing::Refuse), Err(IoError::Exists { .. })));
    put_text(&at("link"), "replaced", Existing::Replace).unwrap();
    put_text(&at("link"), "newest", Existing::Keep).unwrap();
    put_text(&at("twice"), "made", Existing::Refuse).unwrap();
    assert!(matches!(put_text(&at("lost"), "x", Existing::Replace), Err(IoError::NoFolder { .. })));
    assert!(put_text(&at("round"), "x", Existing::Replace).is_err());
    for link in ["link", "dangling", "twice", "lost", "round"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
    }
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    assert_eq!([read("link"), read("store/real.1"), read("store/new")], ["newest", "replaced", "made"]);
    assert_eq!(names(&at("store")), ["new", "real", "real.1"]);
}

#[cfg(unix)]
#[test]
fn modes_are_kept_and_write_protection_holds() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(&path, b"old").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    put_text(&path, "new", Existing::Replace).unwrap();
    assert_eq!(mode(&path), 0o640);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    let error = put_text(&path, "newer", Existing::Replace).unwrap_err().to_string();
    assert!(error.contains("write-protected") && fs::read(&path).unwrap() == b"new", "{error}");
    let manner = Manner { existing: Existing::Keep, access: Access::Private };
    write_file(&path, manner, |_| Ok::<(), IoError>(())).unwrap();
    assert_eq!((mode(&path), mode(&dir.path().join("file.1"))), (0o600, 0o444));
}

#[test]
fn a_number_goes_before_the_extension() {
    for (path, expected) in [("a/mine.gguf", "a/mine.1.gguf"), ("model", "model.1"), (".hidden", ".hidden.1")]
    {
        assert_eq!(numbered(Path::new(path), 1), Path::new(expected));
    }
}

#[test]
fn reasons_are_named() {
    use crate::io::in_words;
    for (kind, says) in [
        (ErrorKind::NotFound, "no such file"),
        (ErrorKind::PermissionDenied, "permission denied"),
        (ErrorKind::StorageFull, "no space left"),
    ] {
        assert!(in_words(&kind.into()).contains(says));
        let error = IoError::system("write", Path::new("a/b"), kind.into()).to_string();
        assert!(error.contains(says) && error.contains("a/b") && !error.contains("os error"), "{error}");
    }
}

//! The parameter structs that are read without naga are those that naga lays out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

#[allow(dead_code)]
#[path = "../build/candidates.rs"]
mod candidates;
#[path = "../build/params.rs"]
mod params;
#[allow(dead_code)]
#[path = "../build/shaders.rs"]
mod shaders;

#[test]
fn both_ways_give_the_same_structs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let files = params::files(&root).unwrap();
    assert!(files.len() > 30 && files.iter().any(|(name, _)| name == "step"));
    let own = params::module(&root).unwrap();
    assert_eq!(own, shaders::params_module(&files).unwrap());
    assert!(own.contains("pub mod attention {") && own.matches("pub struct ").count() > files.len());
}

#[test]
fn what_is_no_plain_struct_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir_all(folder.path().join("params")).unwrap();
    std::fs::create_dir_all(folder.path().join("lib")).unwrap();
    write("lib/step_types.wgsl", "struct Row { \n a: vec2<u32>, // two\n b: vec2<f32>\n}\n");
    write("params/x.wgsl", "struct Params {\n    n: u32,\n}\n");
    let made = params::module(folder.path()).unwrap();
    assert!(made.contains("pub a: [u32; 2],\npub b: [f32; 2],"), "{made}");
    assert_eq!(made, shaders::params_module(&params::files(folder.path()).unwrap()).unwrap());
    for (text, says) in [
        ("struct P {\n a: u32,\n b: vec2<u32>,\n}\n", "padded"),
        ("struct P {\n a: vec2<u32>,\n b: u32,\n}\n", "pad it by hand"),
        ("struct P {\n a: mat4x4<f32>,\n}\n", "type `mat4x4<f32>`"),
        ("struct P {\n a: u32,\n", "not closed"),
        ("const N = 3;\n", "no line of a struct"),
    ] {
        write("params/x.wgsl", text);
        let why = params::module(folder.path()).unwrap_err();
        assert!(why.contains(says) && why.contains("x.wgsl"), "{text}: {why}");
    }
}

#[test]
fn what_is_no_candidate_is_refused() {
    let fields = [("out".to_owned(), 1), ("cols".to_owned(), 0)];
    let overrides = ["ROWS".to_owned()];
    let read = |line: &str| candidates::candidates(line, &fields, &overrides, 1);
    let made = read(
        "#candidate order=2 on=software capacity=1,9.. rows=1 if=cols%4 grid=out/32<=7,8,1 ROWS=cols/2\n",
    )
    .unwrap();
    for part in [
        "order: 2, on: Some(Tuning::Software), capacity: &[(1, 1), (9, 4294967295)], rows: Some(1)",
        "Condition::MultipleOf(0, 4)",
        "(Expression { term: Term::Parameter(1), per: 32, most: 7 }, 8, ",
        "(\"ROWS\", Expression { term: Term::Parameter(0), per: 2, most: 4294967295 })",
    ] {
        assert!(made.contains(part), "{part} in {made}");
    }
    for (line, says) in [
        ("fn main() {}", "no #candidate"),
        ("#candidate grid=1,1,1", "no order"),
        ("#candidate order=1", "0 grids for 1 entry points"),
        ("#candidate order=1 grid=1,1", "is not x,rows,z"),
        ("#candidate order=1 grid=width,1,1", "no parameter `width`"),
        ("#candidate order=1 on=toaster grid=1,1,1", "no kind of device"),
        ("#candidate order=1 grid=1,1,1 if=width<=3", "no parameter `width`"),
        ("#candidate order=1 grid=1,1,1 LANES=3", "neither a condition nor a constant"),
        ("#candidate order=x grid=1,1,1", "no number"),
    ] {
        let why = read(line).unwrap_err();
        assert!(why.contains(says), "{line}: {why}");
    }
}

//! The shader side of each format: it parses and validates inside an op, with the functions and types that ops rely on.

use std::path::Path;

use emberlm::quant::Format;

/// An op that uses a format as ops do.
const OP: &str = "
@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> shape: vec4<u32>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let planes = vec4<u32>(0u, shape.y, shape.z, shape.w);
    let eight: Oct = w_oct(planes, shape.x, id.x, id.y);
    let scale: Scale = w_scale(planes, shape.x, id.x, id.y / SHARED * SHARED);
    let scaled: Oct = w_eight(planes, shape.x, id.x, id.y, scale);
    let block: array<vec4<f32>, 8> = w_block32(planes, shape.x, id.x, id.y);
    y[id.x] = eight.lo + eight.hi + scaled.lo + scaled.hi + block[0] + block[7];
}
";

/// The text of a file of `shaders`, with what it imports in place of each `#import`.
fn shader(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().map(|line| match line.strip_prefix("#import ") {
        Some(name) => shader(&format!("lib/{}.wgsl", name.trim())),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_format_validates_in_an_op() {
    for format in Format::ALL {
        let own = format!("quant/{}.wgsl", format.stem());
        let text = [shader("quant/common.wgsl"), shader(&own), OP.to_owned()].join("\n");
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|e| panic!("{format}: {}", e.emit_to_string(&text)));
        // What every WebGPU device offers; the one capability is that of the builtin `unpack2x16float`.
        let mut validator = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        );
        validator.validate(&module).unwrap_or_else(|e| panic!("{format}: {}", e.emit_to_string(&text)));
    }
}

#[test]
fn every_shader_file_belongs_to_a_format() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders/quant");
    let mut files: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut expected: Vec<String> = Format::ALL.iter().map(|f| format!("{}.wgsl", f.stem())).collect();
    expected.push("common.wgsl".to_owned());
    expected.sort();
    assert_eq!(files, expected);
}

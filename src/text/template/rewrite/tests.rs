use super::*;

#[test]
fn lines_stay() {
    let source = "a\n{% if x -%}\n\n  {{ y\n + z }}\n{% endif %}\nb {# c\n #} {{ w }}";
    let rewritten = rewrite(source).unwrap();
    let line_of = |text: &str, what: &str| text.split(what).next().unwrap().matches('\n').count();
    for name in ["x", "y", "z", "w"] {
        assert_eq!(line_of(&rewritten, name), line_of(source, name), "{name} in {rewritten:?}");
    }
}

use super::*;

fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
    let mut out = Vec::new();
    split(scheme(name).unwrap().stages, text, |w| out.push(w));
    out
}

#[test]
fn nothing_is_lost_whatever_the_text() {
    let texts = [
        "",
        " ",
        "  a",
        "\n\n x\t\r\n  y  ",
        "Hello, WORLD's 1234567 déjà-vu!!\n/ end  ",
        "漢字かな交じり文 ไทย 🦙\u{200d}🦙\u{301}",
        "\u{0}\u{7f}\u{a0}\u{3000}x\u{10ffff}\u{e000}",
        "'S 'll'RE 'x ''",
        "ÀÉa ABCdefGHI McDonald's",
    ];
    for name in known_names() {
        for text in texts {
            assert_eq!(words(name, text).concat(), text, "{name}");
        }
    }
}

#[test]
fn gpt2_words() {
    assert_eq!(
        words("gpt-2", "I'm  fine, it's 2024!\n\nx"),
        ["I", "'m", " ", " fine", ",", " it", "'s", " 2024", "!", "\n", "\n", "x"]
    );
    assert_eq!(words("gpt-2", "a   "), ["a", "   "]);
}

#[test]
fn llama3_words() {
    assert_eq!(
        words("llama-bpe", "I'M (ok) 12345!!\r\n\n  x \n y"),
        ["I", "'M", " (", "ok", ")", " ", "123", "45", "!!\r\n\n", " ", " x", " \n", " y"]
    );
}

#[test]
fn qwen2_takes_single_digits_and_starcoder_isolates_them() {
    assert_eq!(words("qwen2", "a 12"), ["a", " ", "1", "2"]);
    assert_eq!(words("starcoder", "a 12"), ["a", " ", "1", "2"]);
    assert_eq!(words("gpt-2", "a 12"), ["a", " 12"]);
}

#[test]
fn cased_words_follow_the_published_expression() {
    assert_eq!(words("gpt-4o", "HTMLParser isn't CamelCase"), ["HTMLParser", " isn't", " Camel", "Case"]);
    assert_eq!(words("tekken", "漢字ABC abc/\n"), ["漢字", "ABC", " abc", "/\n"]);
}

#[test]
fn deepseek_stages_cut_matches_again() {
    assert_eq!(words("deepseek-llm", " abcé 12  "), [" abc", "é", " ", "12", "  "]);
    assert_eq!(words("deepseek-coder", "漢字abc 3"), ["漢字", "abc", " ", "3"]);
}

#[test]
fn long_runs_take_linear_time() {
    let text = [" ".repeat(400_000), "1".into(), "\u{301}A".repeat(200_000), "\n ".repeat(200_000)].concat();
    let start = std::time::Instant::now();
    for name in known_names() {
        let mut bytes = 0;
        split(scheme(name).unwrap().stages, &text, |w| bytes += w.len());
        assert_eq!(bytes, text.len(), "{name}");
    }
    assert!(start.elapsed().as_secs() < 60, "took {:?}", start.elapsed());
}

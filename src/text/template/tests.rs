use std::time::{Duration, UNIX_EPOCH};

use minijinja::context;

use super::*;

fn chat(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|&(role, content)| Message::new(role, content)).collect()
}

fn render(source: &str, turns: &[(&str, &str)]) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source)?.with_tokens("<s>", "</s>");
    template.render(&chat(turns), true, &TemplateVars::new())
}

const TURNS: &[(&str, &str)] =
    &[("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", " Bye ")];

#[test]
fn builtin_templates() {
    let rendered = |name: &str| {
        let template = ChatTemplate::builtin(name).unwrap().with_tokens("<s>", "</s>");
        template.render(&chat(TURNS), true, &TemplateVars::new()).unwrap()
    };
    assert_eq!(
        rendered("chatml"),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n\
         <|im_start|>user\n Bye <|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        rendered("llama2"),
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST]  Bye  [/INST]"
    );
    assert_eq!(
        rendered("llama3"),
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
         Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    assert_eq!(
        rendered("zephyr"),
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n<|user|>\n Bye </s>\n<|assistant|>\n"
    );
    assert_eq!(
        rendered("gemma"),
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
         <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(
        rendered("phi3"),
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\n Bye <|end|>\n\
         <|assistant|>\n"
    );
    assert_eq!(rendered("mistral"), "<s>[INST] Be brief.\n\nHi [/INST] Hello.</s>[INST]  Bye  [/INST]");
    assert_eq!(builtin_names().count(), 7);
    let error = ChatTemplate::builtin("alpaca").unwrap_err().to_string();
    assert!(error.contains("alpaca") && error.contains("chatml"), "{error}");
}

/// The idioms of Llama 3's and Qwen's templates: slices, namespaces, Python methods, dates, JSON, loop controls.
#[test]
fn idioms_of_published_templates() {
    let source = r#"
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'].strip() %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system = 'none' %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token + system.upper() + '|' + strftime_now('%d %b %Y') + '|' }}
{%- set ns = namespace(last=0, seen=[]) %}
{%- for message in loop_messages %}
    {%- if message.role not in ['user', 'assistant'] %}{% continue %}{% endif %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
    {%- endif %}
    {%- set ns.last = loop.index0 %}
    {%- if message.content.startswith('H') and not message.content.endswith('?') %}{{- message.content.split('e')[0] + ';' }}{% endif %}
    {%- if loop.last %}{{- message.content | trim | length }}{% endif %}
    {%- if loop.index > 8 %}{% break %}{% endif %}
{%- endfor %}
{{- '|{}|'.format(ns.last) }}
{%- if tools is not none and tools %}
    {%- for tool in tools %}{{- tool | tojson }}{% endfor %}
    {{- tools | tojson(indent=2) }}
{%- endif %}
{%- for message in messages[::-1] %}{{- message.role[0] }}{% endfor %}
{%- generation %}{{- messages[-1].content.replace('Bye', 'Ciao').lstrip() ~ eos_token }}{% endgeneration %}
{%- for key, value in messages[1].items() %}{{- key + '=' + value + ' ' }}{% endfor %}
{{- messages[1].get('tool_calls', 'x') }}
{%- if messages[1].tool_calls is defined %}no{% endif %}"#;
    let template = ChatTemplate::new(source)
        .unwrap()
        .with_tokens("<s>", "</s>")
        .with_clock(UNIX_EPOCH + Duration::from_secs(86_400));
    let tool = context! { name => "a<b>'é\"\n", list => [1, 2], half => 0.5, none => () };
    let extra = TemplateVars::from([("tools".to_owned(), Value::from(vec![tool]))]);
    let rendered = template.render(&chat(TURNS), true, &extra).unwrap();
    let flat = "{\"name\": \"a<b>'é\\\"\\n\", \"list\": [1, 2], \"half\": 0.5, \"none\": null}";
    let pretty = "[\n  {\n    \"name\": \"a<b>'é\\\"\\n\",\n    \"list\": [\n      1,\n      2\n    ],\n    \
                  \"half\": 0.5,\n    \"none\": null\n  }\n]";
    assert_eq!(
        rendered,
        format!("<s>BE BRIEF.|02 Jan 1970|H;3|2|{flat}{pretty}uausCiao </s>role=user content=Hi x")
            .replace("H;3", "Hi;H;3")
    );
}

#[test]
fn errors_name_the_line() {
    let error = render("a\n{% if x %}\n{{ y", &[]).unwrap_err();
    assert!(matches!(error, TemplateError::Syntax { line: 3, .. }), "{error:?}");
    let error = render("a\n\n{{ messages[0].content.no_such() }}", TURNS).unwrap_err();
    assert!(matches!(&error, TemplateError::Render { line: 3, .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("line 3: ") && said.contains("no_such"), "{said}");
    let error = render("{{ raise_exception('only ' ~ messages|length) }}", TURNS).unwrap_err();
    assert_eq!(error, TemplateError::Refused { message: "only 4".into() });
    let endless = "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}";
    assert!(matches!(render(endless, &[]), Err(TemplateError::Render { .. })));
    assert!(render("{{ 'x' * 10000000000 }}", &[]).is_err());
    let nested = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&format!("{{{{ {nested} }}}}"), &[]).is_err());
}

fn segments(source: &str, turns: &[(&str, &str)], reserved: &[&str]) -> Vec<(String, Option<usize>)> {
    let template = ChatTemplate::new(source).unwrap();
    let plain = template.render(&chat(turns), true, &TemplateVars::new()).unwrap();
    let segments = template.render_segments(&chat(turns), true, &TemplateVars::new(), reserved).unwrap();
    assert_eq!(segments.iter().map(|s| s.text.as_str()).collect::<String>(), plain);
    segments.into_iter().map(|s| (s.text, s.message)).collect()
}

#[test]
fn contents_are_told_from_the_template() {
    let source = "{% for m in messages %}<{{ m.content | trim }}>{% endfor %}";
    let found = segments(source, &[("user", " a <b>\n"), ("user", ""), ("user", "<\u{e000}>")], &[]);
    let expected = [("<", None), ("a <b>", Some(0)), ("><><", None), ("<\u{e000}>", Some(2)), (">", None)];
    assert_eq!(found, expected.map(|(text, message)| (text.to_owned(), message)));
}

#[test]
fn templates_that_look_into_contents_still_mark_reserved_texts() {
    let source =
        "{% for m in messages %}<|a|>{{ m.content.split('</think>')[-1] }}{{ m.content|length }}{% endfor %}";
    let found = segments(source, &[("user", "no</think>x<|a|>y")], &["<|a|>", "\n"]);
    let expected = [("<|a|>x", None), ("<", Some(0)), ("|a|>y17", None)];
    assert_eq!(found, expected.map(|(text, message)| (text.to_owned(), message)));
    // Private-use characters of the conversation's own.
    let found = segments(
        "{{ messages[0].content|length }}{{ messages[0].content }}",
        &[("user", "\u{f0000}<|a|>")],
        &["<|a|>"],
    );
    let expected = [("6", None), ("\u{f0000}<|a|>", Some(0))];
    assert_eq!(found, expected.map(|(text, message)| (text.to_owned(), message)));
}

#[test]
fn further_fields_reach_the_template() {
    let template = ChatTemplate::new(
        "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}",
    );
    let call = Value::from(vec![context! { name => "add" }]);
    let messages = [Message::new("user", "Hi"), Message::new("assistant", "So").with("tool_calls", call)];
    let template = template.unwrap();
    let none = TemplateVars::new();
    assert_eq!(template.render(&messages, false, &none).unwrap(), "Hi;So[{\"name\": \"add\"}];");
    let segments = template.render_segments(&messages, false, &none, &[]).unwrap();
    let contents: Vec<_> = segments.iter().filter(|s| s.message.is_some()).map(|s| s.text.as_str()).collect();
    assert_eq!(contents, ["Hi", "So"]);
}

/// What Qwen3-Coder's and Nemotron's templates ask of tools that are none.
#[test]
fn none_is_not_iterable() {
    let source = "{% if tools is iterable and tools | length > 0 %}tools{% else %}no tools{% endif %}";
    assert_eq!(render(source, TURNS).unwrap(), "no tools");
    assert_eq!(render("{{ documents is iterable }} {{ 5 is iterable }}", TURNS).unwrap(), "False False");
}

#[test]
fn byte_order_marks_and_ends_of_lines() {
    assert_eq!(render("\u{feff}{% if true %}\r\na\r\n{% endif %}\r\nb\r\n", &[]).unwrap(), "a\nb");
    assert_eq!(render("a\rb{{ '\r\n' | length }}\n\n", &[]).unwrap(), "a\nb1\n");
    assert_eq!(render("a\u{feff}b", &[]).unwrap(), "a\u{feff}b");
}

/// Contents in parts, or none, and reasoning under any of its names.
#[test]
fn fields_take_the_place_of_contents() {
    let source = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% elif m.content is defined %}\
                  {% for p in m.content %}{{ p.text }}{% endfor %}{% else %}nothing{% endif %}\
                  [{{ m.reasoning_content }}{{ m.thinking }}];{% endfor %}";
    let parts = Value::from(vec![context! { r#type => "text", text => "a" }, context! { text => "b" }]);
    let messages = [
        Message::new("user", "").with("content", parts),
        Message::new("assistant", "").with("content", ()).with("reasoning", "why"),
        Message::new("user", "c").with("name", ()),
    ];
    let template = ChatTemplate::new(source).unwrap();
    assert_eq!(template.render(&messages, false, &TemplateVars::new()).unwrap(), "ab[];nothing[whywhy];c[];");
}

//! Templates that would work for ever or take all memory: each ends soon, as an error or with what it renders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use emberlm::text::{ChatTemplate, Message, TemplateError, TemplateVars};

/// More than any of them takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(4);

/// What this thread has used of a processor, so that a busy machine does not matter; where that is not told, the clock.
fn used(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
    nanoseconds.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

fn render(source: &str) -> Result<String, TemplateError> {
    let clock = Instant::now();
    let started = used(clock);
    let template = ChatTemplate::new(source)?;
    let text = template.render(&[Message::new("user", "Hi")], true, &TemplateVars::new());
    drop(template);
    let took = used(clock).saturating_sub(started);
    assert!(took < LIMIT, "{source}: {took:?}");
    text
}

fn refused(source: &str) {
    match render(source) {
        Err(TemplateError::Render { .. } | TemplateError::Syntax { .. }) => {}
        other => panic!("{source}: {:?}", other.map(|text| text.len())),
    }
}

/// `ns.a` shares its parts 2^150 times; `ns.b` is the same again.
fn shared(make: &str, use_it: &str) -> String {
    format!(
        "{{% set ns = namespace(a=[1], b=[1]) %}}{{% for i in range(150) %}}{{% set ns.a = {} %}}{{% set ns.b = {} %}}{{% endfor %}}{use_it}",
        make.replace('@', "ns.a"),
        make.replace('@', "ns.b")
    )
}

#[test]
fn values_that_share_their_parts() {
    let uses = [
        "{{ ns.a }}",
        "{{ ns.a | string | length }}",
        "{{ ns.a ~ '' }}",
        "{{ ns.a == ns.b }}",
        "{{ ns.a != ns.b }}",
        "{{ ns.a < ns.b }}",
        "{{ [ns.a, ns.b] | sort | length }}",
        "{{ [ns.a, ns.b] | min | length }}",
        "{{ [ns.a] | join }}",
        "{{ ns.a | join(',') | length }}",
        "{{ ns.a in [ns.b] }}",
        "{{ [ns.b].index(ns.a) }}",
        "{{ [ns.b].count(ns.a) }}",
        "{{ [ns.a] | tojson | length }}",
        "{{ [ns.a] | pprint | length }}",
        "{{ '%s' % [ns.a] }}",
        "{{ '%r' | format(ns.a) }}",
        "{{ '{}'.format(ns.a) }}",
        "{{ '{!r}'.format(ns) }}",
        "{{ ns }}",
        "{{ ns.a | upper }}",
        "{{ ns.a | urlencode }}",
        "{{ ns.a is eq ns.b }}",
        "{{ [ns.a] | select('eq', ns.b) | list | length }}",
        "{{ [{'k': ns.a}, {'k': ns.b}] | groupby('k') | length }}",
        "{% for x in [ns.a, ns.b] %}{{ loop.changed(x) }}{% endfor %}{{ 1 }}",
        "{{ raise_exception(ns.a) }}",
        "{{ [ns.a].index(1, ns.b == ns.a) }}",
        "{{ {ns.a: 1} }}",
        "{{ [ns.a] | unique | list }}",
        "{% if ns.a == ns.b %}x{% endif %}",
        "{% filter upper %}{{ ns.a }}{% endfilter %}",
        "{% set t %}{{ ns.a }}{% endset %}",
    ];
    for use_it in uses {
        refused(&shared("[@, @]", use_it));
    }
    for make in ["(@, @)", "[@] + [@]", "[@] * 2", "{'x': @, 'y': @}", "[{'k': [@, @]}]"] {
        for use_it in ["{{ ns.a }}", "{{ ns.a == ns.b }}", "{{ [ns.a] | tojson }}"] {
            refused(&shared(make, use_it));
        }
    }
    let keys = "{{ {ns.a: 1} }}{{ [ns.a, ns.b] | unique | list }}";
    refused(&shared("(@, @)", keys).replace("a=[1], b=[1]", "a=(1,), b=(1,)"));
}

#[test]
fn values_that_grow() {
    for source in [
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ (1,) * 10 ** 20 }}",
        "{{ range(1000000000) | list }}",
        "{{ range(10 ** 12) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ 'x'.center(10000000000) }}{{ 'x'.ljust(10000000000) }}",
        "{{ 'x'.ljust(10000000000, '*') }}",
        "{{ '1'.zfill(10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%.10000000000f' % 1.5 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%-999999999999999999999999s' % 1 }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:.10000000000f}'.format(1.5) }}",
        "{{ '{:>{}}'.format('a', 10000000000) }}",
        "{{ 'a' | indent(10000000000, true) }}",
        "{{ ('a\n' * 100000) | indent(100000) }}",
        "{{ [[1]] | tojson(indent=10000000000) }}",
        "{{ [[1]] | tojson(separators=('x' * 10000000, 'y')) ~ ([[1]] * 1000) | tojson(separators=('x' * 10000000, 'y')) }}",
        "{{ ('\t' * 10000).expandtabs(10000000) }}",
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000) | replace('', 'b' * 100000) }}",
        "{{ ('b' * 100000).join('a' * 100000) }}",
        "{{ ['a'] | batch(1000000000, 'x') | list }}",
        "{{ ['a'] | slice(1000000000) | list }}",
        "{{ 2 ** 1000000000 }}{{ 10 ** 100 }}",
        "{{ 10.0 ** 400 }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = (ns.s | string) * 2 %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = (ns.s | list) * 2 %}{% endfor %}",
        "{% macro m(k) %}{{ m(k) }}{{ m(k) }}{% endmacro %}{{ m(1) }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{{ a }}{% endfor %}{% endfor %}",
        "{% for a in range(90000) %}{{ range(90000) | list | length }}{% endfor %}",
        "{% for a in range(90000) %}{{ ('x' * 100000) | length }}{% endfor %}",
        "{% for a in range(90000) %}{% set s = 'x' * 100000 in 'y' * 100000 %}{% endfor %}",
        "{% set s = 'x' * 1000000 %}{% for a in range(90000) %}{{ s.find('xy') }}{% endfor %}",
        "{% set s = 'x' * 1000000 %}{% for a in range(90000) %}{{ s.count('') }}{{ s[-1] }}{{ s | length }}{% endfor %}",
    ] {
        refused(source);
    }
}

#[test]
fn deep_values_and_templates() {
    for source in [
        "{% set ns = namespace(a=[]) %}{% for i in range(100000) %}{% set ns.a = [ns.a] %}{% endfor %}",
        "{% set ns = namespace(a=()) %}{% for i in range(100000) %}{% set ns.a = (ns.a,) %}{% endfor %}{{ ns.a }}",
        "{% set ns = namespace(a={}) %}{% for i in range(100000) %}{% set ns.a = {'x': ns.a} %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(100000) %}{% set ns.a = [ns.a] | batch(1) | list %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(100000) %}{% set ns.a = cycler(ns.a) %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(100000) %}{% set ns.a = joiner(ns.a) %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(90000) %}{% for x in [ns.a] %}{% set ns.a = loop %}{% endfor %}{% endfor %}",
        "{% macro m(k) %}{{ m(k + 1) }}{% endmacro %}{{ m(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set n = namespace() %}{% set n.me = [n] %}{% set n.me = [n.me] %}{{ n }}",
    ] {
        refused(source);
    }
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{'a':", "}"),
        ("not ", ""),
        ("-", ""),
        ("a[", "]"),
        ("f(", ")"),
        ("1 if ", " else 1"),
    ] {
        let nested = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let _ = render(&format!("{{{{ {nested} }}}}"));
    }
    for (open, close) in [
        ("{% if 1 %}", "{% endif %}"),
        ("{% for i in [1] %}", "{% endfor %}"),
        ("{% with %}", "{% endwith %}"),
    ] {
        refused(&format!("{}x{}", open.repeat(100_000), close.repeat(100_000)));
    }
    for part in [
        " + 1", " ~ 1", " and 1", " or 1", " < 2", " in [1]", "|abs", ".a", "[0]", "()", " if 1", " * 1",
        " ** 1", " is odd", ", 1",
    ] {
        let _ = render(&format!("{{{{ 1{} }}}}", part.repeat(100_000)));
    }
    refused(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100_000)));
    let many = format!("{{% if 0 %}}{}{{% else %}}last{{% endif %}}", "{% elif 0 %}".repeat(190));
    assert_eq!(render(&many).unwrap(), "last");
    assert_eq!(render(&format!("{{{{ 1{} }}}}", " and 1".repeat(190))).unwrap(), "1");
    let _ = render(&"{{".repeat(100_000));
    let _ = render(&"{#".repeat(100_000));
    let _ = render(&"{% raw %}".repeat(100_000));
}

/// A chain of namespaces is dropped without recursion, also while rendering, and circles do not leak or hang.
#[test]
fn namespaces_that_hold_each_other() {
    let chain = "{% set top = namespace(head=none) %}{% for i in range(90000) %}{% set n = namespace(next=top.head) %}\
                 {% set top.head = n %}{% endfor %}";
    assert_eq!(render(chain).unwrap(), "");
    assert_eq!(render(&format!("{chain}{{% set top.head = none %}}done")).unwrap(), "done");
    let forward = "{% set top = namespace() %}{% set top.last = top %}{% for i in range(50000) %}{% set n = namespace() %}\
                   {% set l = top.last %}{% set l.next = n %}{% set top.last = n %}{% endfor %}done";
    assert_eq!(render(forward).unwrap(), "done");
    let circle = "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a == b }}{{ a is sameas a }}";
    assert_eq!(render(circle).unwrap(), "FalseTrue");
    refused("{% set a = namespace() %}{% set a.me = a %}{{ a }}");
}

/// Large conversations are no attack.
#[test]
fn long_conversations_render() {
    let source = "{% for m in messages %}{% if messages[loop.index0].content == m.content %}<|{{ m['role'] }}|>{{ m.content | trim }}\
                  {{ m | tojson }}{% endif %}{% endfor %}";
    let messages: Vec<Message> = (0..4000)
        .map(|i| Message::new(["user", "assistant"][i % 2], format!(" {i} {}", "word ".repeat(200))))
        .collect();
    let text = ChatTemplate::new(source).unwrap().render(&messages, true, &TemplateVars::new()).unwrap();
    assert!(text.len() > 8_000_000, "{}", text.len());
}

"""templates.json: what transformers renders of llama.cpp's chat templates and of template_expressions.txt.

    python tests/golden/gen_templates.py .cache/templates [--texts FOLDER]

The templates are those that scripts/fetch-vocabs gets. Of each rendering the golden holds the SHA-256 and the length in
bytes; --texts writes the renderings themselves into a folder, to compare with. The clock is fixed, in UTC.
"""

import argparse
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
NOW = datetime(2026, 3, 5, 7, 8, 9)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather, today <now> & \"here\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1},
                "where": {"type": ["object", "null"], "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
    },
}
STOP = {"type": "function", "function": {"name": "stop", "description": "Stops.", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, id):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# Arguments of apply_chat_template. Fields of messages beyond role and content are in alphabetical order.
CHATS = {
    "plain": {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "add_generation_prompt": True},
    "turns": {
        "messages": [
            {"role": "system", "content": "  You are terse.\n"},
            {"role": "user", "content": "Grüße, 世界! 😀 <b>&amp;</b>"},
            {"role": "assistant", "content": " Hello.\nHow can I help? "},
            {"role": "user", "content": "  Say 'it'  \n\n"},
        ],
        "add_generation_prompt": True,
    },
    "tools": {
        "messages": [
            {"role": "system", "content": "Use tools."},
            {"role": "user", "content": "Weather in Zürich and Bern?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [call("get_weather", {"city": "Zürich", "days": 2, "where": {"lat": 47.4}, "tags": ["a", "b"]}, "call00001")],
            },
            {"role": "tool", "content": "{\"temp\": 21.5, \"sky\": \"clear\"}", "name": "get_weather", "tool_call_id": "call00001"},
            {"role": "assistant", "content": "Zürich has 21.5 degrees."},
            {"role": "user", "content": "And Bern?"},
        ],
        "tools": [WEATHER, STOP],
        "add_generation_prompt": True,
    },
    "calls": {
        "messages": [
            {"role": "user", "content": "Both, please."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    call("get_weather", "{\"city\": \"Bern\"}", "call00002"),
                    call("stop", {}, "call00003"),
                ],
            },
            {"role": "tool", "content": "rain", "name": "get_weather", "tool_call_id": "call00002"},
            {"role": "tool", "content": "ok", "name": "stop", "tool_call_id": "call00003"},
        ],
        "tools": [WEATHER, STOP],
        "add_generation_prompt": True,
    },
    "thinking": {
        "messages": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "Which is larger, 9.11 or 9.9?"},
            {"role": "assistant", "content": "9.9", "reasoning_content": "9.9 = 9.90\nand 90 > 11"},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "<think>\nThey doubt.\n</think>\n\nYes."},
            {"role": "user", "content": "Why?"},
        ],
        "add_generation_prompt": True,
        "variables": {"enable_thinking": True, "thinking": True, "reasoning_effort": "low"},
    },
    "quiet": {
        "messages": [
            {"role": "user", "content": ""},
            {"role": "assistant", "content": "\u00a0é\u2028x\r\ny\t"},
            {"role": "user", "content": "{{ n }} {% x %} \\n \"q\""},
            {"role": "assistant", "content": "done"},
        ],
        "add_generation_prompt": False,
        "variables": {"enable_thinking": False},
    },
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "text", "text": "here."}]},
        ],
        "documents": [{"title": "A", "text": "Alpha.", "doc_id": 1}],
        "add_generation_prompt": True,
    },
}

VARIABLES = {
    "n": 7,
    "x": 2.5,
    "s": "Hello World",
    "text": "  it's <b>\n",
    "words": ["apple", "bear", "cat"],
    "nums": [1, 2, 3],
    "d": {"a": 1, "b": {"c": [1, None, "é"]}},
    "d2": {"b": 1, "C": 3, "a": 2},
    "users": [
        {"name": "Ann", "age": 30, "team": "a", "tags": ["x"]},
        {"name": "bob", "age": 20, "team": "B", "tags": ["y", "z"]},
        {"name": "Cy", "age": 25, "team": "a", "tags": []},
        {"name": "Di", "age": 0, "team": "b", "tags": ["w"]},
    ],
    "tree": [{"v": 1, "kids": [{"v": 2}, {"v": 3, "kids": [{"v": 4}]}]}, {"v": 5}],
}


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(tokenizer, template, chat):
    """The text, or None where transformers raises."""
    try:
        return tokenizer.apply_chat_template(
            chat["messages"],
            chat_template=template,
            tools=chat.get("tools"),
            documents=chat.get("documents"),
            add_generation_prompt=chat["add_generation_prompt"],
            tokenize=False,
            **chat.get("variables", {}),
        )
    except Exception as error:  # Whatever it is: the template cannot be used for this.
        if type(error).__name__ in ("NameError", "ImportError"):
            raise
        return None


def digest(text):
    return None if text is None else f"{hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", type=Path)
    parser.add_argument("--texts", type=Path)
    args = parser.parse_args()
    chat_template_utils.datetime = Clock
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>")), bos_token="<s>", eos_token="</s>"
    )
    templates = {}
    for path in sorted(args.templates.glob("*.jinja")):
        source = path.read_bytes().decode()
        texts = {name: render(tokenizer, source, chat) for name, chat in CHATS.items()}
        templates[path.name] = {name: digest(text) for name, text in texts.items()}
        if args.texts:
            args.texts.mkdir(exist_ok=True)
            for name, text in texts.items():
                if text is not None:
                    (args.texts / f"{path.stem}.{name}.txt").write_bytes(text.encode())
    chat = {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True, "variables": VARIABLES}
    expressions = []
    for line in (HERE / "template_expressions.txt").read_text().split("\n"):
        if line and not line.startswith("# "):
            source = line.replace("⏎", "\n").replace("␍", "\r")
            expressions.append([source, render(tokenizer, source, chat)])
    golden = {
        "made_by": f"transformers {transformers.__version__}, jinja2 {__import__('jinja2').__version__}",
        "now": int(NOW.replace(tzinfo=timezone.utc).timestamp()),
        "chats": CHATS,
        "templates": templates,
        "variables": VARIABLES,
        "expressions": expressions,
    }
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    (HERE / "templates.json").write_text(text + "\n")
    rendered = sum(text is not None for t in templates.values() for text in t.values())
    print(f"{len(templates)} templates x {len(CHATS)} chats, {rendered} rendered; "
          f"{len(expressions)} expressions, {sum(e[1] is not None for e in expressions)} rendered")


if __name__ == "__main__":
    main()

"""smollm2/tokens.json: token ids and rendered conversations of the default model's tokenizer and template, by transformers.

    python gen_tokens.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf

The vocabulary, merges and template are the file's; `gen_smollm2.py` says what its pre-tokenizer stands for.
"""
import json
import sys
from pathlib import Path

import gguf
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoTokenizer

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", " \n \n", "a", " a", "a ", "  a  b", "A1b2C3", "0", "12", "123", "1234567890",
    "3.14159", "1,000,000 and 1e-9", "Hello world", " Hello world", "Hello, world!", "HELLO World's", "it's we'll I'D they've", "''''''",
    "don't — “quote” ‘single’ …", "Größe, façade, naïve", "e\u0301 and é", "σύννεφο дождь שלום عربى", "雨が降る。 漢字 한국어 ไทย", "🦙🏽 👩‍👩‍👧 ❤️",
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n", "\tif x:\n\t\treturn  y  # why\n", "https://example.org/a?b=c&d=%20#e", "a_b-c.d/e\\f|g",
    "<|im_start|> and <|im_end|>", "<|endoftext|>", "\u0000\u0001\u007f\u0080", "\ufeffBOM", "\u00a0nbsp\u2003em", "x" * 40, "=" * 33, " " * 17 + "x",
    "The quick brown fox jumps over the lazy dog.", "\r\nWindows\r\nlines\r", "ÅÄÖåäö ŁódźİIıi ẞß",
]
CHATS = [
    [("user", "What is gravity?")],
    [("system", "Answer in one line."), ("user", "Who wrote Faust?")],
    [("system", "Be brief."), ("user", "Two plus two?"), ("assistant", "Four."), ("user", "And three more?")],
    [("user", "  spaces \n\n kept? "), ("assistant", "\n\nyes\n"), ("user", "größer 42")],
]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.chat_template = gguf.GGUFReader(path).get_field("tokenizer.chat_template").contents()
    # What users write is text, also where it looks like a control token.
    plain = lambda text: tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    chats = []
    for turns in CHATS:
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        chats.append({"messages": messages, "text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]})
    table = {"texts": [{"text": text, "ids": plain(text)} for text in TEXTS], "chats": chats}
    out = Path(__file__).parent / "smollm2/tokens.json"
    rows = lambda all: ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in all)
    out.write_text(f'{{"texts":[\n{rows(table["texts"])}],\n"chats":[\n{rows(chats)}]}}\n')
    print(out, out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()

"""A byte-level BPE vocabulary small enough for a tiny model: every byte, a few merges, three special tokens."""
import gguf

MERGES = ["t h", "h e", "Ġ t", "Ġt he", "i n", "a n", "e r", "Ġ a", "o n", "r e", "an d", "Ġ and"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_letters():
    """The printable letter that stands for each byte in GPT-2's vocabulary."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {b: chr(b) for b in plain}
    others = [b for b in range(256) if b not in letters]
    letters.update({b: chr(0x100 + i) for i, b in enumerate(others)})
    return [letters[b] for b in range(256)]


TOKENS = SPECIALS + byte_letters() + [m.replace(" ", "") for m in MERGES]
VOCAB_SIZE = len(TOKENS)


def add_tokenizer(writer):
    assert len(set(TOKENS)) == VOCAB_SIZE
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([control] * len(SPECIALS) + [normal] * (VOCAB_SIZE - len(SPECIALS)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(3)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

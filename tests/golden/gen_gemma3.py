"""What Gemma 3 270M answers in float32, by transformers on the weights of the file; its token ids, by sentencepiece.

    python gen_gemma3.py path/to/gemma-3-270m-q4_k_m.gguf

Reads gemma3/text.txt, some 700 tokens: more than the window of 512. Writes gemma3/tokens.npy (i32, the first being the
beginning), tok_lp.npy (log-probability of each next token), logits.npy (the last position's, every STRIDE-th of them),
tokens.json (ids of odd texts), and, by PEFT, sft.json and sft.npy: the loss of a step of SFT on the first SFT_TOKENS of
the text, LoRA on all seven matrices of each layer, and its gradients, every SFT_STRIDE-th element of each factor in the
order of names. The vocabulary is the file's: its pieces, scores and kinds, as sentencepiece takes them.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2 as proto
from peft import LoraConfig, get_peft_model
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

import gen_training
from gen_tokens import TEXTS

STRIDE = 257  # a prime, so that the sample is spread over the vocabulary; 1021 of 262144 logits
RANK, ALPHA = 4, 8
SFT_TOKENS, SFT_STRIDE = 560, 61
OUT = Path(__file__).parent / "gemma3"
OWN = [
    "<start_of_turn>user\nhi<end_of_turn>\n", "a\n\n\n\nb", "\t\t\tx", "          ten", "<b>bold</b> <table><tr>", "1 2  3   4",
]
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
}


def tokenizer_of(reader):
    field = lambda name: reader.get_field(f"tokenizer.ggml.{name}").contents()
    model = proto.ModelProto()
    for piece, score, kind in zip(field("tokens"), field("scores"), field("token_type")):
        # Kinds of pieces have the same numbers in both formats; converters write the spaces of one kind out.
        if kind == gguf.TokenType.USER_DEFINED:
            piece = piece.replace(" ", "▁")
        model.pieces.add(piece=piece, score=score, type=kind)
    t = model.trainer_spec
    t.model_type, t.byte_fallback, t.vocab_size = proto.TrainerSpec.BPE, True, len(model.pieces)
    t.unk_id, t.bos_id, t.eos_id, t.pad_id = (field(f"{n}_token_id") for n in ("unknown", "bos", "eos", "padding"))
    t.unk_piece, t.bos_piece, t.eos_piece, t.pad_piece = (model.pieces[i].piece for i in (t.unk_id, t.bos_id, t.eos_id, t.pad_id))
    n = model.normalizer_spec
    n.name, n.add_dummy_prefix, n.remove_extra_whitespaces, n.escape_whitespaces = "identity", False, False, True
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def state_of(reader):
    """The file's weights, decoded, under transformers' names; norms as checkpoints have them, less one."""
    state = {}
    for t in reader.tensors:
        values = torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).astype(np.float32))
        if t.name.startswith("blk."):
            _, layer, part, _ = t.name.split(".")
            name = f"model.layers.{layer}.{NAMES[part]}.weight"
        else:
            name = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[t.name]
        state[name] = values - 1.0 if "norm" in name else values
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def load(reader):
    key = lambda name: reader.get_field(f"gemma3.{name}").contents()
    config = Gemma3TextConfig(
        vocab_size=len(reader.get_field("tokenizer.ggml.tokens").data), hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
        num_attention_heads=key("attention.head_count"), num_key_value_heads=key("attention.head_count_kv"),
        head_dim=key("attention.key_length"), rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=key("context_length"), sliding_window=key("attention.sliding_window"),
        query_pre_attn_scalar=key("attention.key_length"), rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": key("rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})
    config._attn_implementation = "eager"
    model = Gemma3ForCausalLM(config).eval()
    model.load_state_dict(state_of(reader), strict=True)
    return model


def step(model, ids):
    """Loss and gradients of one step, written out."""
    modules = list(gen_training.MODULES)
    config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=modules)
    model = get_peft_model(model, config).train(False)
    gen_training.HEADS = {}  # rows lie as in the checkpoint
    gen_training.start(model)
    with torch.no_grad():
        for _, parameter, _ in gen_training.factors(model):
            parameter.mul_(0.2)  # as large as they begin, they would drown the model
    loss = -gen_training.logps(model, torch.tensor(ids[:SFT_TOKENS]), 1).mean()
    loss.backward()
    sample = [p.grad.flatten()[::SFT_STRIDE].numpy() for _, p, _ in gen_training.factors(model)]
    np.save(OUT / "sft.npy", np.concatenate(sample))
    table = {"rank": RANK, "alpha": ALPHA, "tokens": SFT_TOKENS, "stride": SFT_STRIDE, "loss": float(loss.detach())}
    (OUT / "sft.json").write_text(json.dumps(table) + "\n")
    print(f"SFT: loss {loss:.6f}, {sum(s.size for s in sample)} elements of the gradient")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    reader = gguf.GGUFReader(sys.argv[1])
    tokenizer, model = tokenizer_of(reader), load(reader)
    ids = [2, *tokenizer.encode((OUT / "text.txt").read_text(encoding="utf-8"))]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    lp = torch.log_softmax(logits.double(), -1)
    files = {
        "tokens": np.array(ids, np.int32),
        "tok_lp": np.array([lp[i, t] for i, t in enumerate(ids[1:])], np.float32),
        "logits": logits[-1, ::STRIDE].numpy(),
    }
    for kind, values in files.items():
        np.save(OUT / f"{kind}.npy", values)
    rows = [json.dumps({"text": t, "ids": tokenizer.encode(t)}, separators=(",", ":")) for t in [*TEXTS, *OWN]]
    (OUT / "tokens.json").write_text("[\n" + ",\n".join(rows) + "]\n")
    step(model, ids)
    print(len(ids), f"tokens, mean NLL {-files['tok_lp'].astype(float).mean():.6f}")


if __name__ == "__main__":
    main()

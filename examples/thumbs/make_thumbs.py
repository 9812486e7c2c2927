"""Makes thumbs.jsonl of answers that the model itself gave to questions.jsonl: 20 with a list, disliked, and 20 without, liked.

cargo run --release --example judge_answers -- MODEL.gguf questions.jsonl temp=0.7 seed=1 each=4 n=160 | python3 make_thumbs.py > thumbs.jsonl
"""
import json
import random
import re
import sys

LIST = re.compile(r"^\s*(\d+[.)]|[-*•])\s", re.MULTILINE)


def main():
    answers = [row for row in map(json.loads, sys.stdin) if row["ended"] and row["tokens"] >= 20]
    # Short answers first: they take less time, and say as much about lists.
    answers.sort(key=lambda row: row["tokens"])
    chosen, seen = {True: [], False: []}, set()
    for row in answers:
        liked = not LIST.search(row["completion"])
        if (row["prompt"], liked) not in seen and len(chosen[liked]) < 20:
            seen.add((row["prompt"], liked))
            chosen[liked].append({"prompt": row["prompt"], "completion": row["completion"], "label": liked})
    if min(map(len, chosen.values())) < 20:
        sys.exit(f"only {len(chosen[True])} without a list and {len(chosen[False])} with one; raise each= or n=")
    rows = chosen[True] + chosen[False]
    random.Random(1).shuffle(rows)
    sys.stdout.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


main()

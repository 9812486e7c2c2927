#!/usr/bin/env python3
"""A reward of one's own: answers of one sentence in short words.

Use it as a reward, here with twice the weight of another:

    --reward 'command:python3 examples/rewards/plain_words.py*2' --reward length:40

The program is started once. Each line on stdin is a JSON object:

    {"id": 0, "prompt": "...", "completion": "...", "row": {"answer": "..."},
     "tokens": 12, "truncated": false, "remaining": 7}

`row` has the other columns of the prompt's row in the data, and `remaining` is the number of lines that follow in this
batch. Answer each line, in order, with one line on stdout and flush it: a number, or {"reward": NUMBER} with whatever
else you like in the object; null instead of a number when there is nothing to say. Print everything else to stderr.

Try it by hand:

    echo '{"completion": "A cat is a small pet."}' | python3 examples/rewards/plain_words.py
"""

import json
import re
import sys

LONGEST = 6  # letters of a short word


def reward(completion):
    """Half for being one sentence, half for the share of short words; None without any words."""
    words = re.findall(r"[^\W\d_]+", completion)
    if not words:
        return None
    sentences = re.findall(r"[.!?]+(?=\s|$)", completion.strip())
    one = len(sentences) == 1 and completion.rstrip().endswith(sentences[0])
    short = sum(len(word) <= LONGEST for word in words) / len(words)
    return 0.5 * one + 0.5 * short


def main():
    # The system's own encoding may be another.
    sys.stdin.reconfigure(encoding="utf-8")
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps({"reward": reward(asked["completion"])}), flush=True)


if __name__ == "__main__":
    main()

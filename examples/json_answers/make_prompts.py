"""Writes prompts.jsonl (320 rows) and held-out.jsonl (40 rows): python3 make_prompts.py

A row asks for somebody's name and age as a JSON object. Names, and some of the wordings, are only in the held-out rows.
"""
import json
import random
from pathlib import Path

NAMES = """Ada Amir Anouk Bela Bruno Carla Chidi Dana Darius Edda Elif Emil Farah Finn Greta Hamid Hedda Ines Ivo Jana Jonas
Karim Kaya Lars Leila Lotte Malik Mara Mina Nadia Nils Noor Olga Oskar Petra Pia Quentin Rana Rosa Samir Selma Sven Tara Tomas
Ulla Umar Vera Victor Wanda Yara Yusuf Zoe""".split()
HELD_OUT_NAMES = "Agnes Boris Cleo Dimitri Esther Felix Gloria Hugo Irma Jasper Kira Linus Maja Nestor Odile Pavel".split()
FACTS = [
    "{name} is {age} years old.",
    "{name} is {age}.",
    "{name} turned {age} last week.",
    "{name}, aged {age}, lives in {place}.",
    "{name} is {age} and works as a {job}.",
    "This is {name}, a {age}-year-old {job}.",
    "At {age}, {name} moved to {place}.",
    "My neighbour {name} is {age} years old and a {job}.",
]
HELD_OUT_FACTS = ["{name} from {place} is {age} years old.", "The new {job} is {name}, who is {age}."]
ORDERS = [
    'Answer only with a JSON object with the keys "name" and "age". {fact}',
    '{fact} Answer only with a JSON object with the keys "name" and "age".',
    '{fact} Write this as a JSON object with the keys "name" and "age".',
    'Give me JSON with the keys "name" and "age" and nothing else. {fact}',
    '{fact} Reply with a JSON object: the keys are "name" and "age".',
    'Turn this into a JSON object with the keys "name" and "age": {fact}',
]
HELD_OUT_ORDERS = ['I need a JSON object with the keys "name" and "age". {fact}', '{fact} As JSON, keys "name" and "age", please.']
PLACES = "Lyon Oslo Porto Ghent Turin Basel Krakow Cork Malaga Tartu".split()
JOBS = "baker nurse teacher plumber farmer painter driver librarian gardener cook".split()


def rows(rng, count, names, facts, orders):
    """That many different rows."""
    seen = {}
    while len(seen) < count:
        name, age = rng.choice(names), rng.randint(18, 89)
        fact = rng.choice(facts).format(name=name, age=age, place=rng.choice(PLACES), job=rng.choice(JOBS))
        prompt = rng.choice(orders).format(fact=fact)
        seen[prompt] = {"prompt": prompt, "answer": age}
    return seen.values()


def main():
    folder = Path(__file__).parent
    rng = random.Random(7)
    train = rows(rng, 320, NAMES, FACTS, ORDERS)
    # Half of the held-out rows have wordings of their own, too.
    held_out = [*rows(rng, 20, HELD_OUT_NAMES, FACTS, ORDERS), *rows(rng, 20, HELD_OUT_NAMES, HELD_OUT_FACTS, HELD_OUT_ORDERS)]
    for file, made in (("prompts.jsonl", train), ("held-out.jsonl", held_out)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in made))


main()

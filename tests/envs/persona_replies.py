"""Replies written by hand: some that each persona likes, and some that break one wish exactly.

Keyed by persona; a bad reply is keyed by the wish it breaks. All answer `PROMPTS`.
"""

from __future__ import annotations

__all__ = ["BAD", "GOOD", "PROMPTS"]

PROMPTS = {
    "asks": "Why does ice float?",
    "brief": "Why does ice float?",
    "formal": "Invite my friends to a pool party.",
    "plain": "How do I bake a simple bread?",
    "student": "Why are leaves green?",
    "teacher": 'A boy in my class wrote: "Bees carry pollen." Give him some feedback.',
    "unapologetic": "Your joke wasn't funny.",
    "you": "How can I drink more water?",
}
GOOD: dict[str, tuple[str, ...]] = {
    "asks": (
        "Ice takes up more room than the water it came from, so it is lighter. "
        "Have you seen a lake freeze over?",
        "Frozen water is less dense.\n\nWhat made you think of that?",
    ),
    "brief": ("Frozen water takes up more room, so it is lighter than the water below it.",),
    "formal": (
        "Dear friends,\n\nIt would be a pleasure to welcome you to my pool on Saturday at noon.",
        "I should like to invite you to a party at my house. Kindly let me know by Friday.",
    ),
    "plain": (
        "Mix flour, water, salt and yeast, and knead it for ten minutes. Let it rest for an hour. "
        "Then bake it at 220 degrees until it sounds hollow.",
        "Knead it, let it rise and bake it.\n\nThat's all there is to it.",
    ),
    "student": (
        "Leaves are green because there's a green stuff in them that catches sunlight.",
        "It's because of chlorophyll. It soaks up red and blue light, so you only see the green.",
    ),
    "teacher": (
        "I like that you thought of pollen. Next time you could tell us where the bees take it.",
        "Well done, your bees do carry pollen! Try to explain why the flowers need them.",
    ),
    "unapologetic": (
        "Here is a better one: why did the chicken stop halfway? It had seen the ending.",
        "Humour is a matter of taste, so tell me what made you laugh last.",
    ),
    "you": (
        "Put a bottle on your desk. You will drink whenever you see it.",
        "You can set an alarm on your phone. Your body gets used to it after a week.",
    ),
}
_ICE = "Ice takes up a bit more room than water. "
_ASK = "Have you seen a lake freeze over?"
_TEA = "You did well, the bees and their pollen are lovely. "
BAD: dict[str, dict[str, tuple[str, ...]]] = {
    "asks": {
        "too_short": ("", "Ice."),
        "no_question": (_ICE, _ASK + " " + _ICE, _ICE + "Do you have any more questions for me?"),
        "no_answer": (_ASK + " And where did you see it?",),
        "repeats": (_ICE + _ICE + _ASK,),
    },
    "brief": {
        "too_short": ("", "Yes.", "Because."),
        "too_long": ("and so on " * 30,),
        "lists": ("It is because:\n- ice is light\n- water is heavy",),
        "paragraphs": ("Ice is lighter than water.\n\nThat is why.",),
    },
    "formal": {
        "too_short": ("", "Come to the pool."),
        "informal": (
            "Hey everyone, you are invited to my pool on Saturday.",
            "It's time for a party at my pool on Saturday.",
            "You are all invited to my pool on Saturday!",
            "You are all invited to my pool on Saturday \U0001f389",
        ),
        "repeats": ("You are invited. Please bring a towel. You are invited. Please come early.",),
    },
    "plain": {
        "too_short": ("", "Bread."),
        "lists": (
            "1. Mix flour and water.\n2. Let the dough rest.\n3. Bake it.",
            "You need three things:\n\n* flour\n* water\n* yeast",
            "## Bread\nMix flour and water and bake it.",
        ),
        "markup": (
            "Mix **flour** and water, then bake it for an hour.",
            "Step 1: mix flour and water.\nStep 2: bake the dough.",
        ),
        "repeats": ("Mix it well and bake it. " * 6,),
    },
    "student": {
        "too_short": ("", "Chlorophyll."),
        "too_long": (" ".join(f"word{number}" for number in range(90)),),
        "lists": ("There are two reasons:\n1. the light\n2. the green stuff",),
        "markup": ("It's the **chlorophyll** that makes them green.",),
        "stock_phrases": (
            "Sure! Leaves have a green stuff in them.",
            "Leaves have a green stuff in them. In conclusion, they're green.",
        ),
        "stiff_words": ("Leaves utilize a green stuff to catch light.",),
        "repeats": ("Leaves are green. That's how it is. Leaves are green.",),
    },
    "teacher": {
        "too_short": ("", "Your bees are good, add more."),
        "cold": ("The pupil should explain where the bees take the pollen and why they do so.",),
        "vague": (
            "Good job! You could write a little more next time, and keep it up.",
            "I love how you worked on this. Next time add an example, and you will shine.",
        ),
        "no_advice": (_TEA + "I enjoyed every line of it.",),
        "repeats": (_TEA * 2 + "Next time tell us more.",),
    },
    "unapologetic": {
        "too_short": ("", "Fine."),
        "apology": (
            "I'm sorry that you didn't like it.",
            "I apologize for the joke, here is another one.",
        ),
        "ai_talk": (
            "As an AI, humour is hard for me.",
            "I am only a language model, so jokes are hard for me.",
        ),
        "repeats": ("Here is a better one. Now laugh. Here is a better one.",),
    },
    "you": {
        "too_short": ("", "You drink it."),
        "impersonal": (
            "People should keep a bottle on the desk. It helps to drink one glass every hour.",
        ),
        "first_person": (
            "You can keep a bottle on your desk, as I do.",
            "We drink, you and your friend.",
        ),
        "repeats": ("Fill your bottle. Keep it near you. Fill your bottle. Keep it near you.",),
    },
}

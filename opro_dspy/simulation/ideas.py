"""The vocabulary of the simulated LMs: prompt-engineering ideas and ways to say them.

The simulated scorer LM recognises these ideas in an instruction; the simulated optimizer LM
writes instructions with them. Which ideas help, and how much, is not written here: only a
`Landscape` knows, by its seed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["plausible", "idle", "harmful"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """One thing that an instruction may tell a simulated LM."""

    name: str
    """Identifier, unique in `IDEAS`."""
    kind: Kind
    """What a prompt engineer would expect of it: may help, does nothing, or hurts."""
    pattern: re.Pattern[str]
    """Recognises the idea in lower-case text with single spaces."""
    phrasings: tuple[str, ...]
    """Ways to say it, imperative and without a final period; each matches `pattern`."""
    hints: tuple[str, ...] = ()
    """Lower-case words in a question that suggest the idea."""


# One idea each: name | hints | pattern, and its phrasings on the line below.
_PLAUSIBLE = """
step_by_step | | step[- ]by[- ]step
    think step by step | work through it step-by-step | reason step by step before answering
breath | | deep breath
    take a deep breath first | take a deep breath and stay calm | begin with a deep breath
break_down | then | smaller (?:parts|pieces)|break (?:it|this|the \\w+) (?:down|into)|sub-?problem
    break the problem down | split it into smaller parts | solve one sub-problem at a time
restate | | restate|in your own words
    restate the question first | put the question in your own words | restate what is given
goal | how many,what | what is (?:being )?asked|actually asked|the question wants
    find out what is asked | keep in mind what is actually asked | settle what the question wants
list_facts | has,have,buys | (?:list|write down) (?:the|all|every) (?:known|given|fact)
    list the given facts | write down every fact first | list all known quantities
units | cost,each,dollars,hours,minutes,per | \\bunits?\\b
    keep track of units | carry the unit with every number | watch the units
verify | | double[- ]check|verify|check (?:your|the) (?:work|answer|result)
    double-check the result | verify each step | check your work at the end
second_way | | (?:second|another|different) (?:way|method|route)
    solve it in a second way | confirm the answer by another method | try a different route
estimate | total,altogether | estimate|ballpark|rough guess
    estimate the answer first | begin with a ballpark figure | compare the result with a rough guess
equation | times,twice,half,each | equations?|algebra
    write an equation | turn the words into equations | set it up as algebra
variables | | variables?|name the unknown|symbols? for
    name the unknown quantities | use a variable for what is missing | pick symbols for the unknowns
table | | \\btable|\\bcolumns?
    arrange the data in a table | make a small table | put the numbers in columns
diagram | | diagram|sketch|picture the
    sketch the situation | draw a mental diagram | picture the scene
order | then,after,before | in order of|chronolog|from left to right|order of operations
    go through events in order of time | respect the order of operations | read from left to right
running_total | gives,more,left,adds | running (?:total|count|tally)|keep a tally
    keep a running total | maintain a running count | keep a tally as you go
group | apple,chair,also,and a | group (?:the|similar|like)|categor
    group similar things together | sort the things into categories | group the like items
count_all | how many,objects,items | one by one|each item|count (?:everything|every|all)
    count every thing separately | go over the things one by one | consider each item in turn
ignore_extra | also,name | irrelevant|distract|not needed
    ignore irrelevant details | set aside what is not needed | do not let extra facts distract you
careful_reading | | read (?:the \\w+ |it |everything )?(?:carefully|closely|twice)
    read the question carefully | read everything twice | read it closely before you start
negation | not,never,except | negati|the word \\W?not\\b|\\bnots\\b
    handle each negation with care | look out for negations | resolve negation before anything else
innermost | (,and,or | innermost|inside out|parenthes|brackets
    work from the inside out | start with the innermost part | evaluate parentheses first
truth_table | true,false | truth value|true or false
    write each truth value | decide true or false for every piece | substitute truth values
rules | | state the rule|which rule|rules? (?:that|you)
    state the rule that you apply | ask which rule applies | name the rules you use
analogy | | analog|similar (?:problem|question|case)
    recall a similar problem | think of an analogous case | use the pattern of a similar question
example | | worked example|for instance|simple case
    try a simple case first | recall a worked example | test the idea on a simple case
assumption | if | assum
    state your assumptions | question every assumption | make no assumption that is not given
backward | left,originally | backwards?|from the end
    work backward from the goal | reason backwards where useful | start from the end and go back
precise | dollars,total | precise|exact(?:ly)?
    be precise with numbers | give the exact value | stay precise throughout
final_answer | | final answer|finish with|end with the
    finish with the answer on its own | state the final answer clearly | end with the plain result
expert | | you are an? |expert|as a (?:teacher|professor|mathematician)
    act as an expert in the field | answer as a professor would | behave like a seasoned expert
teacher | | explain (?:it |this |your )|to a (?:child|student|beginner)
    explain your reasoning to a student | explain it plainly | lay it out as if to a beginner
stakes | | important|stakes|depends on
    this is very important to my career | treat it as high stakes | a lot depends on the result
confidence | | confiden|believe in
    be confident in your reasoning | believe in your abilities | proceed with confidence
logic | if,true,false,and | \\blogic|deduc
    use strict logic | deduce each claim from the last | argue logically
patience | | patien|take your time|no rush|slowly
    take your time | be patient with the details | go slowly where it is hard
"""
_IDLE = """
polite | | polite|courte
    be polite | keep a courteous tone | answer politely
thanks | | thank
    thank you for your help | many thanks in advance | we thank you for good work
formal | | \\bformal
    use formal language | keep the style formal | write in a formal register
friendly | | friendly|\\bwarm
    be friendly | use a warm voice | sound friendly and open
plan | | \\bplan\\b
    make a plan | plan before you begin | follow a clear plan
focus | | focus|concentrat
    focus on the task | stay focused | concentrate fully
"""
_HARMFUL = """
hurry | | hurry|quick|fast as|speed
    answer as quickly as you can | do not waste time, be fast as lightning | prefer speed to care
no_reasoning | | (?:no|without|skip) (?:any |the )?(?:reasoning|explanation|steps|thinking)
    answer without any reasoning | skip the steps | give no explanation
first_guess | | first (?:guess|instinct|impression)|\\bgut\\b
    trust your first guess | go with your gut | rely on first impressions
creative | | creativ|imaginat|poem|rhyme
    be creative | use your imagination freely | answer in a rhyme if you like
verbose | | long(?:er)? (?:answer|essay)|elaborate|as much detail
    elaborate at great length | write a long essay | give as much detail as possible
round_off | | round (?:off|the|up|every)|approximat
    round off the numbers | approximate wherever possible | round every result
"""


def _parse(table: str, kind: Kind) -> list[Idea]:
    ideas = []
    for line in table.strip().replace("\n    ", " | ").splitlines():
        # Columns are parted by " | "; the "|" inside a pattern has no spaces around it.
        name, hints, pattern, *phrasings = line.replace(" | | ", " |  | ").split(" | ")
        words = tuple(word for word in hints.split(",") if word.strip())
        compiled = re.compile(pattern)
        ideas.append(
            Idea(name=name, kind=kind, pattern=compiled, phrasings=tuple(phrasings), hints=words)
        )
    return ideas


IDEAS: tuple[Idea, ...] = (
    *_parse(_PLAUSIBLE, "plausible"),
    *_parse(_IDLE, "idle"),
    *_parse(_HARMFUL, "harmful"),
)
"""All ideas the simulated LMs know, in a fixed order."""

IDEA_BY_NAME: dict[str, Idea] = {idea.name: idea for idea in IDEAS}
"""The same ideas by name."""

OPENINGS: tuple[str, ...] = (
    "Solve the task",
    "Answer the question",
    "Let's solve the problem",
    "Give the right answer",
    "Work out the answer",
    "Here is what to do",
)
"""Idea-free sentences with which a simulated instruction may begin."""

MODIFIERS: tuple[str, ...] = (
    "{}",
    "please {}",
    "always {}",
    "be sure to {}",
    "remember to {}",
    "you should {}",
    "for best results, {}",
    "in every case, {}",
)
"""Frames that reword a phrasing without changing its idea."""

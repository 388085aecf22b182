"""Writes posts.csv: short posts by invented people, in the sixteen columns of a common data set of tweets.

About 210 texts are written by hand (words/posts.txt), the others put together from words/phrases.txt. Some are
posted twice, some passed on by others, so that every cleaning step of the app finds something to do.
"""

import csv
import io
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from corpora.grammar import Chooser, Line, say
from corpora.words import TABLES, parts

SEED = 16
ROWS = 720
COLUMNS = (
    "id,user_name,user_location,user_description,user_created,user_followers,user_friends,user_favourites,"
    "user_verified,date,text,hashtags,source,retweets,favorites,is_retweet"
).split(",")
LONGEST = 280
REPEATED, PASSED_ON, LINKED, TAGGED, CHEERED = 0.04, 0.03, 0.06, 0.06, 0.08  # shares of the posts put together
TAGS = {
    "tilda": "#repair #tuesday",
    "bram": "#bread #early",
    "lotte": "#astronomy #clouds",
    "gus": "#nightbus #n7",
    "noor": "#slowrunners",
    "wilf": "#allotment #leeks",
    "choir": "#choir",
}
EMOJI = ("☕", "🔧", "🙂", "🌧️", "🎶", "🐈", "✨", "😅", "❤️", "🤷")
NEWEST = datetime(2023, 11, 21, 21, 40, 3, tzinfo=UTC)
EPOCH_MS = 1_288_834_974_657  # the ids count milliseconds from here, shifted by 22 bits


@dataclass(frozen=True)
class Account:
    key: str
    name: str
    handle: str
    location: str
    description: str
    created: str
    followers: int
    friends: int
    favourites: int
    verified: str
    share: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Post:
    account: Account
    text: str
    passed_on: bool = False


@cache
def accounts() -> tuple[Account, ...]:
    lines = (TABLES / "accounts.txt").read_text(encoding="utf-8").splitlines()[1:]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return tuple(
        Account(
            *(key, name, handle, location, description, created),
            *(int(followers), int(friends), int(favourites)),
            verified,
            int(share),
            parts(sources),
        )
        for (key, name, handle, location, description, created, followers, friends, favourites, *rest) in cells
        for verified, share, sources in [rest]
    )


def unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


@cache
def by_hand() -> dict[str, list[str]]:
    """The texts written by hand, by the key of their account."""
    sections = re.split(r"^# ", (TABLES / "posts.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    named = (section.strip().splitlines() for section in sections)
    return {key: [unescaped(line) for line in lines if line] for key, *lines in named}


@cache
def phrases() -> dict[str, tuple[Line, ...]]:
    sections = re.split(r"^@ ", (TABLES / "phrases.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    named = (section.strip().splitlines() for section in sections)
    return {name: tuple(Line(line) for line in lines if line) for name, *lines in named}


def put_together(account: Account, chooser: Chooser) -> str:
    """A post from the account's own patterns, now and then with a link, tags or a picture at its end."""
    while True:
        text = unescaped(say(phrases()[account.key], account.key, {}, set(), phrases(), chooser))
        luck = chooser.random.random()
        if luck < LINKED:
            text += f" https://example.org/p/{chooser.random.randrange(1000, 9999)}"
        elif luck < LINKED + TAGGED:
            text += f" {TAGS[account.key]}"
        elif luck < LINKED + TAGGED + CHEERED:
            text += f" {chooser.random.choice(EMOJI)}"
        if account.handle not in text and len(text) <= LONGEST:
            return text


def write_all(rows: int, chooser: Chooser) -> list[Post]:
    """`rows` posts in random order: all texts written by hand, then others until there are enough."""
    posts = [Post(account, text) for account in accounts() for text in by_hand()[account.key]][:rows]
    seen = {post.text for post in posts}
    shares = [account.share for account in accounts()]
    while len(posts) < rows:
        account = chooser.random.choices(accounts(), shares)[0]
        luck = chooser.random.random()
        earlier = chooser.random.choice(posts)
        if luck < REPEATED and not earlier.passed_on:
            posts.append(earlier)
        elif luck < REPEATED + PASSED_ON and not earlier.passed_on and earlier.account != account:
            posts.append(Post(account, f"RT {earlier.account.handle}: {earlier.text}"[:LONGEST], passed_on=True))
        elif (text := put_together(account, chooser)) not in seen:
            seen.add(text)
            posts.append(Post(account, text))
    chooser.random.shuffle(posts)
    return posts


def dated(posts: list[Post], luck: random.Random) -> Iterator[dict[str, object]]:
    """Rows for the CSV, newest first; followers and friends shrink towards the past."""
    date = NEWEST
    written: Counter[str] = Counter()
    for post in posts:
        who = post.account
        written[who.key] += 1
        liked = int(luck.paretovariate(1.1) * who.followers**0.5 / 12)
        tags = re.findall(r"#(\w+)", re.sub(r"https?://\S+", "", post.text))
        yield {
            "id": ((int(date.timestamp() * 1000) - EPOCH_MS) << 22) + luck.randrange(4096),
            "user_name": who.name,
            "user_location": who.location,
            "user_description": who.description,
            "user_created": who.created,
            "user_followers": who.followers - 3 * written[who.key],
            "user_friends": who.friends - written[who.key] // 40,
            "user_favourites": who.favourites - 5 * written[who.key],
            "user_verified": who.verified,
            "date": f"{date:%Y-%m-%d %H:%M:%S}+00:00",
            "text": post.text,
            "hashtags": str(tags) if tags else "",
            "source": luck.choice(who.sources),
            "retweets": liked // luck.randrange(4, 12),
            "favorites": liked,
            "is_retweet": post.passed_on,
        }
        date -= timedelta(seconds=luck.randrange(240, 52_000))


def posts_text(seed: int = SEED, rows: int = ROWS) -> str:
    """The text of posts.csv, with Unix line ends; line breaks inside a post stand in quotes."""
    chooser = Chooser(seed)
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dated(write_all(rows, chooser), chooser.random))
    return file.getvalue()

"""Draws tokens with common random numbers: noise only where it can win, and the draw is exact all the same.

Sampling is an exponential race (Gumbel-max; Maddison et al. 2014): each entry of the vocabulary has a clock E with an
exponential distribution, and the winner is the entry with the largest logit / temperature - log E. A clock is a hash of
(key, position, entry), so what is drawn hangs on nothing else, and two prefixes draw with the same luck.

The vocabulary is cut into blocks. The earliest clock of a block of n entries is exponential with rate n, is each
entry's with the same chance, and the others ring later by exponential times of their own, for such clocks have no
memory. So a block's earliest clock and its largest logit bound what any of its entries may reach, and clocks are made
for those entries alone that pass the bound. A nucleus (Holtzman et al. 2020) is never built: the winner of the race
over all entries is the winner over the nucleus if it lies in it; else the race is run again among the entries that
come before it. Whether one lies in the nucleus is a question of the mass before it.
"""

from dataclasses import dataclass

import torch

from ppm.errors import ModelError

__all__ = ["BLOCK", "draw"]

BLOCK = 128
"""Entries of the vocabulary that share a bound. The noise hangs on it: RESULTS_VERSION counts its changes."""
MANY_BLOCKS = 32
"""Where the entries before a winner spread over more blocks, the whole mass is summed first: it may settle it."""
SMALL = 16 * BLOCK
"""Up to so many entries noise for all of them costs less than to look for those that may win."""
LEADING = 4
"""How many blocks of the highest bounds are looked at first, for what the others have to reach."""
SLACK = 1e-5
"""By how much, relatively, an entry may seem to miss a bound in float32 and still be looked at in float64."""
_MIX = (-0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)  # splitmix64's constants, signed


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _hash(x: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser (Steele et al. 2014) on int64, which wraps around."""
    x = x + _MIX[0]
    x = (x ^ _shift(x, 30)) * _MIX[1]
    x = (x ^ _shift(x, 27)) * _MIX[2]
    return x ^ _shift(x, 31)


def _uniform(seeds: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    """Numbers above 0 and below 1, float64, of 52 bits: one for each seed and counter, which broadcast."""
    return (_shift(_hash(seeds + _hash(counters)), 12).double() + 0.5) / 2.0**52


@dataclass(frozen=True)
class _Clocks:
    """The clocks of R races over the vocabulary, made when they are asked for. `seeds` (R,) tell the races apart."""

    seeds: torch.Tensor
    vocabulary: int

    @property
    def blocks(self) -> torch.Tensor:
        """The number of each block, (N,)."""
        return torch.arange(-(-self.vocabulary // BLOCK), device=self.seeds.device)

    def _size(self, blocks: torch.Tensor) -> torch.Tensor:
        return (self.vocabulary - blocks * BLOCK).clamp(max=BLOCK)

    def earliest(self) -> torch.Tensor:
        """The earliest clock of each block, (R, N)."""
        blocks = self.blocks
        return -torch.log(_uniform(self.seeds[:, None], -1 - 2 * blocks)) / self._size(blocks)

    def all(self) -> torch.Tensor:
        """The clock of every entry, (R, V)."""
        blocks = self.blocks
        first = (_uniform(self.seeds[:, None], -2 - 2 * blocks) * self._size(blocks)).long() + blocks * BLOCK
        later = -torch.log(_uniform(self.seeds[:, None], torch.arange(self.vocabulary, device=self.seeds.device)))
        later.scatter_(-1, first, 0.0)
        return later + self.earliest().repeat_interleave(BLOCK, dim=-1)[:, : self.vocabulary]

    def of(self, races: torch.Tensor, entries: torch.Tensor, earliest: torch.Tensor) -> torch.Tensor:
        """The clocks (Q,) of some entries (Q,), each of its race; `earliest` (Q,) are those of their blocks."""
        blocks = torch.div(entries, BLOCK, rounding_mode="floor")
        first = (_uniform(self.seeds[races], -2 - 2 * blocks) * self._size(blocks)).long()
        later = -torch.log(_uniform(self.seeds[races], entries))
        return earliest + later.masked_fill(entries - blocks * BLOCK == first, 0.0)


def draw(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """The token (B,) that each row of logits (B, V) gives, exactly distributed for its temperature and nucleus.

    `temperature` and `top_p` (B,) are float64; a temperature of 0 takes the likeliest entry, the first of several.
    `keys` and `positions` (B,), int64, say which noise a row gets. The nucleus are the fewest entries of most mass that
    have top_p of it; of entries with one logit the first ones count as larger. Raises ModelError for logits that are
    not numbers.
    """
    vocabulary = logits.shape[-1]
    blocked = _blocked(logits)
    tops = blocked.amax(-1)
    best = tops.amax(-1)
    if not bool(torch.isfinite(best).all()):
        raise ModelError(
            "gives no probabilities: its logits are infinite or no numbers",
            context="the base model",
            hint="load it in another dtype, such as --dtype float32: float16 overflows where bfloat16 does not",
        )
    tokens = _likeliest(blocked, tops)
    rows = (temperature > 0).nonzero()[:, 0]
    if len(rows):
        if len(rows) < len(logits):
            logits, blocked, tops = logits[rows], blocked[rows], tops[rows]
        clocks = _Clocks(_hash(keys[rows] + _hash(positions[rows])), vocabulary)
        if vocabulary <= SMALL:
            tokens[rows] = _among_all(logits, temperature[rows], top_p[rows], clocks)
        else:
            tokens[rows] = _Race(blocked, tops.double(), temperature[rows], top_p[rows], clocks).winners()
    return tokens


def _among_all(logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, clocks: _Clocks) -> torch.Tensor:
    """The winner of each race (R,) over logits (R, V), by the clocks of all entries."""
    scaled = logits.double() / temperature[:, None]
    scores = scaled - torch.log(clocks.all())
    tokens = scores.argmax(-1)
    todo = (top_p < 1).nonzero()[:, 0]
    shares = torch.softmax(scaled, dim=-1) if len(todo) else scaled
    entries = torch.arange(logits.shape[-1], device=logits.device)
    while len(todo):
        found, own = tokens[todo, None], scaled[todo]
        theirs = own.gather(-1, found)
        before = (own > theirs) | ((own == theirs) & (entries < found))
        out = (shares[todo] * before).sum(-1) >= top_p[todo]
        todo = todo[out]
        scores[todo] = scores[todo].masked_fill(~before[out], float("-inf"))
        tokens[todo] = scores[todo].argmax(-1)
    return tokens


def _blocked(logits: torch.Tensor) -> torch.Tensor:
    """Logits (B, V) by blocks, (B, N, BLOCK); past the vocabulary's end stands -inf."""
    lacking = -logits.shape[-1] % BLOCK
    if lacking:
        logits = torch.nn.functional.pad(logits, (0, lacking), value=float("-inf"))
    return logits.reshape(len(logits), -1, BLOCK)


def _likeliest(logits: torch.Tensor, tops: torch.Tensor) -> torch.Tensor:
    """The first entry with the largest logit of each row, (B,); logits (B, N, BLOCK), the largest of each block."""
    blocks = tops.argmax(-1)
    rows = torch.arange(len(logits), device=logits.device)
    return blocks * BLOCK + logits[rows, blocks].argmax(-1)


class _Race:
    """R races over logits (R, N, BLOCK) with the largest of each block, `tops` (R, N), float64."""

    def __init__(
        self,
        logits: torch.Tensor,
        tops: torch.Tensor,
        temperature: torch.Tensor,
        top_p: torch.Tensor,
        clocks: _Clocks,
    ) -> None:
        self.logits = logits.reshape(-1, BLOCK)  # (R * N, BLOCK)
        self.tops, self.temperature, self.top_p, self.clocks = tops, temperature, top_p, clocks
        self.earliest = clocks.earliest()
        self.late = torch.log(self.earliest)  # (R, N)
        self.largest = tops.amax(-1)  # (R,)

    def winners(self) -> torch.Tensor:
        """The winner of each race within its nucleus, (R,)."""
        count = len(self.tops)
        tokens = torch.zeros(count, dtype=torch.long, device=self.logits.device)
        # Only what comes before (floor, entry) takes part, in the order of falling logits, then of entries.
        floor = torch.full_like(self.largest, float("-inf"))
        before = torch.full_like(tokens, self.clocks.vocabulary)
        todo = torch.arange(count, device=self.logits.device)
        while len(todo):
            found, theirs = self._winner(todo, floor, before)
            tokens[todo] = found
            nucleus = self.top_p[todo] < 1
            todo, found, theirs = todo[nucleus], found[nucleus], theirs[nucleus]
            if len(todo):
                out = ~self._in_nucleus(todo, found, theirs)
                todo = todo[out]
                floor[todo], before[todo] = theirs[out], found[out]
        return tokens

    def _winner(
        self, todo: torch.Tensor, floor: torch.Tensor, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The winner of each race in `todo` (T,) among the entries before (floor, before), (R,), and its logit."""
        tops = self.tops[todo]
        bounds = tops / self.temperature[todo, None] - self.late[todo]
        bounds = bounds.masked_fill(tops < floor[todo, None], float("-inf"))  # (T, N)
        reached = torch.full_like(floor, float("-inf"))  # (R,): what the best so far has
        leading = bounds.topk(min(LEADING, bounds.shape[-1]), dim=-1).indices
        races, _, _, scores = self._run(
            todo.repeat_interleave(leading.shape[1]), leading.flatten(), floor, before, reached
        )
        reached.scatter_reduce_(0, races, scores, "amax")
        which, blocks = ((bounds >= reached[todo, None]) & (bounds > float("-inf"))).nonzero(as_tuple=True)
        races, entries, logits, scores = self._run(todo[which], blocks, floor, before, reached)
        reached.scatter_reduce_(0, races, scores, "amax")
        first = scores == reached[races]
        races, entries = races[first], entries[first]
        tokens = torch.full_like(before, self.clocks.vocabulary).scatter_reduce_(0, races, entries, "amin")
        chosen = entries == tokens[races]
        theirs = torch.zeros_like(floor).index_put_((races[chosen],), logits[first][chosen])
        return tokens[todo], theirs[todo]

    def _run(
        self,
        races: torch.Tensor,
        blocks: torch.Tensor,
        floor: torch.Tensor,
        before: torch.Tensor,
        reached: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(race, entry, logit, score), each (Q,), of the entries of some blocks that may reach the best so far."""
        least = torch.maximum((reached[races] + self.late[races, blocks]) * self.temperature[races], floor[races])
        least = (least - SLACK * (1 + least.abs())).nan_to_num(nan=float("-inf"), neginf=float("-inf"))
        theirs = self._blocks(races, blocks)  # (M, BLOCK)
        which, place = (theirs >= least.float()[:, None]).nonzero(as_tuple=True)
        logits = theirs[which, place].double()
        races, blocks = races[which], blocks[which]
        entries, low = blocks * BLOCK + place, floor[races]
        fits = ((logits > low) | ((logits == low) & (entries < before[races]))) & (logits > float("-inf"))
        kept = fits.nonzero()[:, 0]
        races, entries, logits = races[kept], entries[kept], logits[kept]
        clocks = self.clocks.of(races, entries, self.earliest[races, blocks[kept]])
        return races, entries, logits, logits / self.temperature[races] - torch.log(clocks)

    def _blocks(self, races: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
        """The logits of some blocks (M,), each of its race, (M, BLOCK)."""
        return self.logits.index_select(0, races * self.tops.shape[1] + blocks)

    def _in_nucleus(self, todo: torch.Tensor, found: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Whether less than top_p of the mass lies before each entry found, (T,), which has these logits."""
        tops, wanted = self.tops[todo], self.top_p[todo]
        larger = tops >= logits[:, None]  # (T, N)
        weights = torch.exp((tops - self.largest[todo, None]) / self.temperature[todo, None])
        inside = torch.zeros(len(todo), dtype=torch.bool, device=found.device)
        near = torch.ones_like(inside)
        many = (larger.sum(-1) > MANY_BLOCKS).nonzero()[:, 0]
        if len(many):
            # Those before it are at least the largest ones of their blocks.
            least = (weights[many] * (tops[many] > logits[many, None])).sum(-1)
            near[many] = least < wanted[many] * self._mass(todo[many])
        rows = near.nonzero()[:, 0]
        if len(rows):
            mass_before, seen = self._masses(todo[rows], found[rows], logits[rows], larger[rows])
            # All mass is at least what was seen, and the largest entry of each other block.
            sure = mass_before < wanted[rows] * (seen + (weights[rows] * ~larger[rows]).sum(-1))
            if not bool(sure.all()):
                unsure = (~sure).nonzero()[:, 0]
                sure[unsure] = mass_before[unsure] < wanted[rows[unsure]] * self._mass(todo[rows[unsure]])
            inside[rows] = sure
        return inside

    def _masses(
        self, todo: torch.Tensor, found: torch.Tensor, logits: torch.Tensor, larger: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mass before each entry found, and all mass of the blocks that have some, both (T,), of the largest's."""
        which, blocks = larger.nonzero(as_tuple=True)
        theirs = self._blocks(todo[which], blocks).float()  # (M, BLOCK)
        weights = self._weights(theirs, todo[which])
        entries = torch.arange(BLOCK, device=found.device)
        own = logits[which, None].float()
        earlier = (theirs > own) | ((theirs == own) & (entries < (found[which] - blocks * BLOCK)[:, None]))
        nothing = torch.zeros(len(todo), dtype=torch.double, device=found.device)
        before = nothing.index_add(0, which, (weights * earlier).sum(-1).double())
        return before, nothing.index_add(0, which, weights.sum(-1).double())

    def _mass(self, todo: torch.Tensor) -> torch.Tensor:
        """All mass of each race, (T,), in units of its largest entry's; one race at a time, which fits a cache."""
        every = self.clocks.blocks
        rows = [self._weights(self._blocks(race, every).float(), race[None]).sum(-1).double().sum() for race in todo]
        return torch.stack(rows)

    def _weights(self, logits: torch.Tensor, races: torch.Tensor) -> torch.Tensor:
        """The mass of entries (M, BLOCK) of some races (M,), each in units of its race's largest entry's, float32."""
        inverse = (1 / self.temperature[races]).float()[:, None]
        return (logits - self.largest[races].float()[:, None]).mul_(inverse).exp_()

"""A stranger's answers to the spine of the course, in cells, in another style than the solutions.

Every text is the cells of one exercise; the name after the id is what its check is given.
"""

IMPORTS = "import math\nimport torch\nfrom torch import nn\nimport torch.nn.functional as nnf\n"
KERNEL_IMPORTS = IMPORTS + "from moe_teach.ops.triton_host import tl, triton\n"

ANSWERS = {
    "3.1 topk_route": """
def topk_route(logits, top_k, normalize_gates=True):
    score = torch.exp(torch.log_softmax(logits.to(torch.float32), 1))
    order = score.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    weight = torch.take_along_dim(score, order, dim=1)
    return (weight / weight.sum(1)[:, None] if normalize_gates else weight), order
""",
    "4.1 swiglu_expert": """
from torch.utils.checkpoint import checkpoint

def swish(z):
    return z * torch.sigmoid(z)

def inner(x, w_gate, w_up, w_down):
    return torch.einsum("nf,df->nd", swish(nnf.linear(x, w_gate)) * nnf.linear(x, w_up), w_down)

def swiglu_expert(x, w_gate, w_up, w_down):
    return checkpoint(inner, x, w_gate, w_up, w_down, use_reentrant=False)
""",
    "4.2 sort_dispatch": """
def sort_dispatch(expert_ids, kept, n_experts):
    n_tokens = expert_ids.shape[0]
    key = (expert_ids * n_tokens + torch.arange(n_tokens).unsqueeze(1))[kept]
    slot = torch.full(tuple(expert_ids.shape), -1)
    slot[kept] = key.argsort().argsort()
    tally = (expert_ids[kept].unsqueeze(0) == torch.arange(n_experts).unsqueeze(1)).sum(1)
    return key.sort().values % n_tokens, slot, tally
""",
    "4.3 combine": """
def combine(y, gates, slot):
    out = y.new_zeros(gates.shape[0], y.shape[1])
    token, choice = (slot != -1).nonzero(as_tuple=True)
    return out.index_add(0, token, gates[token, choice].unsqueeze(1) * y[slot[token, choice]])
""",
    "4.7 MyMoE": """
from moe_teach.course import mine
from moe_teach.types import Routing

class MyMoE(nn.Module):
    def __init__(self, d_model, n_experts, top_k, d_ff, normalize_gates=True, **parts):
        super().__init__()
        self.top_k, self.normalize_gates, self.d_model = top_k, normalize_gates, d_model
        self.router = nn.Linear(d_model, n_experts, bias=False)
        shape = (n_experts, d_ff, d_model)
        self.w_gate = nn.Parameter(torch.randn(shape) / math.sqrt(d_model))
        self.w_up = nn.Parameter(torch.randn(shape) / math.sqrt(d_model))
        self.w_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff) / math.sqrt(d_ff))
        self.route = parts.get("route") or mine("3.1")
        self.expert = parts.get("expert") or mine("4.1")
        self.sort = parts.get("sort") or mine("4.2")
        self.mix = parts.get("mix") or mine("4.3")

    def forward(self, x, token_ids=None):
        flat = x.reshape(-1, self.d_model)
        logits = flat.float() @ self.router.weight.float().T
        gates, chosen = self.route(logits, self.top_k, self.normalize_gates)
        who, slot, tally = self.sort(chosen, torch.ones(chosen.shape, dtype=bool), len(self.w_up))
        answers, start = [], 0
        for e in range(len(tally)):
            rows = flat[who[start : start + tally[e]]]
            start += int(tally[e])
            answers.append(self.expert(rows, self.w_gate[e], self.w_up[e], self.w_down[e]).float())
        y = self.mix(torch.cat(answers), gates, slot)
        return y.to(x).reshape(x.shape), Routing(logits, torch.softmax(logits, 1), gates, chosen)
""",
    "5.1 MoEBlock": """
class MoEBlock(nn.Module):
    def __init__(self, d_model, attention, moe):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(d_model), nn.RMSNorm(d_model)])
        self.mixer, self.experts = attention, moe

    def forward(self, x):
        one, two = self.norms
        stream = x.add(self.mixer(one(x)))
        added, record = self.experts(two(stream))
        return stream.add(added), record
""",
    "5.6 train_loop": """
from moe_teach.ops.losses import load_balance_loss

def share_of_loss(model, part, n_asked, balance_loss):
    output = model(part[0])
    told = nnf.log_softmax(output.logits, -1).gather(-1, part[1].clamp(min=0).unsqueeze(-1))
    nats = -(told.squeeze(-1) * (part[1] >= 0)).sum() / n_asked
    layers = [balance_loss(routing) for routing in output.routings]
    return nats, sum(layers) / len(layers), output

def train_loop(model, optimizer, batches, n_steps, lr_at, balance_loss=load_balance_loss,
               balance_coef=0.01, clip=1.0, accumulate=1, on_step=None):
    model.train()
    history = []
    for step in range(n_steps):
        batch = batches.at(step)
        n_asked, seen, outputs = (batch.targets >= 0).sum(), 0.0, []
        model.zero_grad()
        for i in range(accumulate):
            rows = slice(i * len(batch.inputs) // accumulate,
                         (i + 1) * len(batch.inputs) // accumulate)
            part = batch.inputs[rows], batch.targets[rows].long()
            nats, uneven, output = share_of_loss(model, part, n_asked, balance_loss)
            torch.add(nats, uneven, alpha=balance_coef / accumulate).backward()
            seen += float(nats.detach())
            outputs.append(output)
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), clip)
        for group in optimizer.param_groups:
            group.update(lr=lr_at(step))
        optimizer.step()
        history.append(seen)
        if on_step:
            on_step(step, outputs)
    return history
""",
    "6.1 load_balance_loss": """
def load_balance_loss(probs, expert_ids, real=None, earlier=None):
    E = probs.size(1)
    if real is not None:
        probs, expert_ids = probs[real], expert_ids[real]
    if not len(probs):
        return probs.sum()
    hits = nnf.one_hot(expert_ids.reshape(-1), E).to(probs.dtype).sum(0)
    hits = hits if earlier is None else hits + earlier
    return torch.dot(hits / hits.sum(), probs.mean(0)) * E
""",
    "6.3 bias_update": """
def bias_update(expert_bias, expert_ids, rate):
    E = len(expert_bias)
    hits = torch.stack([(expert_ids == e).sum() for e in range(E)])
    fair = expert_ids.numel()
    return expert_bias + rate * ((hits * E < fair).float() - (hits * E > fair).float())
""",
    "6.7 train_balanced": """
from moe_teach.course import mine

class Steered:
    def __init__(self, n_experts, rate):
        self.bias, self.rate = torch.zeros(n_experts), rate

    def __call__(self, logits, top_k, normalize_gates=True):
        p = torch.softmax(logits, 1)
        ids = (p + self.bias).argsort(1, descending=True)[:, :top_k]
        g = torch.take_along_dim(p, ids, 1)
        return (g / g.sum(1)[:, None] if normalize_gates else g), ids

def train_balanced(model, optimizer, batches, n_steps, lr, cure="none", strength=0.0, **parts):
    loop = parts.get("loop") or mine("5.6")
    balance = parts.get("balance") or mine("6.1")
    move = parts.get("move") or mine("6.3")
    coef = {"none": 0.0, "loss": strength, "bias": 0.0}.get(cure)
    if coef is None:
        raise ValueError(cure)
    E, rows = model.layer.router.out_features, []
    steered = Steered(E, strength)
    if cure == "bias":
        model.layer.route = steered

    def note(step, outputs):
        ids = outputs[0].routings[0].expert_ids
        rows.append([int((ids == e).sum()) for e in range(E)])
        steered.bias = move(steered.bias, ids, steered.rate)

    loop(model, optimizer, batches, n_steps, lambda _: lr,
         lambda r: balance(r.probs, r.expert_ids), coef, on_step=note)
    return torch.tensor(rows)
""",
    "7.5 sigmoid_bias_route": """
def sigmoid_bias_route(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5,
                       alive=None):
    raw = torch.sigmoid(logits.to(torch.float32))
    biased = raw + expert_bias
    T, E = biased.shape
    per = E // n_groups
    if alive is not None:
        biased = torch.where(alive, biased, -math.inf)
    worth = []
    for g in biased.split(per, dim=1):
        best = g.sort(dim=1, descending=True).values[:, :2]
        both = best.where(best.isfinite(), 0).sum(1)
        worth.append(both.where(best[:, 0].isfinite(), -math.inf))
    worth = torch.stack(worth, dim=1)
    best = worth.argsort(dim=1, descending=True)[:, :top_groups]
    closed = torch.ones(T, n_groups, dtype=torch.bool).scatter(1, best, False)
    biased = biased.masked_fill(closed.repeat_interleave(per, dim=1), -math.inf)
    ids = biased.argsort(dim=1, descending=True)[:, :top_k]
    gates = torch.take_along_dim(raw, ids, 1)
    return gates / gates.sum(1)[:, None] * gate_scale, ids
""",
    "7.7 DeepSeekMoE": """
from dataclasses import replace
from moe_teach.course import mine

class DeepSeekMoE(nn.Module):
    def __init__(self, layer, n_groups=1, top_groups=1, gate_scale=2.5, **parts):
        super().__init__()
        self.layer, self.gate_scale = layer, gate_scale
        self.n_groups, self.top_groups = n_groups, top_groups
        self.rule = parts.get("rule") or mine("7.5")
        self.move = parts.get("move") or mine("6.3")
        self.register_buffer("expert_bias", torch.zeros(layer.router.weight.shape[0]))
        self.layer.route = self.route

    def route(self, logits, top_k, normalize_gates=True):
        return self.rule(logits, self.expert_bias, top_k, n_groups=self.n_groups,
                         top_groups=self.top_groups, gate_scale=self.gate_scale)

    def forward(self, x, token_ids=None):
        y, record = self.layer(x, token_ids)
        return y, replace(record, probs=torch.sigmoid(record.logits.float()))

    def update_bias(self, routing, rate):
        self.expert_bias = self.move(self.expert_bias, routing.expert_ids, rate).detach()
""",
    "8.1 fuse_experts": """
import re

def fuse_experts(names, read, layer):
    where = re.compile(
        rf"model\\.layers\\.{layer}\\.block_sparse_moe\\.experts\\.(\\d+)\\.(w[123])\\.weight"
    )
    found = [(m[2], int(m[1]), n) for n in names if (m := where.fullmatch(n))]
    how_many = 1 + max(number for _, number, _ in found)
    out = {}
    for kind, number, name in sorted(found):
        one = read(name)
        if kind not in out:
            out[kind] = torch.zeros(how_many, *one.shape, dtype=one.dtype)
        out[kind][number] += one
        del one
    return out["w1"], out["w3"], out["w2"]
""",
    "8.5 my_block": """
from moe_teach.course import mine

MIXTRALS = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}

def my_block(config, names, read, layer, **parts):
    build, fuse = parts.get("build") or mine("4.7"), parts.get("fuse") or mine("8.1")
    kind = config["model_type"]
    if kind not in {"mixtral", "olmoe", "qwen3_moe"}:
        raise ValueError(f"My layer knows nothing of {kind} models.")
    if config.get("hidden_act") != "silu":
        raise ValueError("The experts of my layer have a SiLU and no other activation.")
    middle = "block_sparse_moe" if kind == "mixtral" else "mlp"
    start = f"model.layers.{layer}.{middle}."
    router = start + "gate.weight"
    if router not in names:
        raise ValueError(f"In layer {layer} there are no experts to be found.")
    told = {}
    for name in names:
        if name.startswith(start + "experts."):
            number, kind_of, _ = name[len(start + "experts."):].split(".")
            told[f"model.layers.{layer}.block_sparse_moe.experts.{number}."
                 f"{MIXTRALS.get(kind_of, kind_of)}.weight"] = name
    gate, up, down = fuse(list(told), lambda name: read(told[name]), layer)
    E, F, D = gate.shape
    always = kind == "mixtral"
    layer_of_mine = build(D, E, config["num_experts_per_tok"], F,
                          True if always else config.get("norm_topk_prob", False))
    values = {"router.weight": read(router), "w_gate": gate, "w_up": up, "w_down": down}
    layer_of_mine.load_state_dict(values)
    return layer_of_mine
""",
    "9.2 count_choices": """
@triton.jit
def count_choices(expert_ids_ptr, counts_ptr, n_choices, n_experts, BLOCK: tl.constexpr,
                  EXPERTS: tl.constexpr):
    e = tl.arange(0, EXPERTS)
    step = tl.num_programs(0)
    for me in range(tl.program_id(0), tl.cdiv(n_choices, BLOCK), step):
        lane = me * BLOCK + tl.arange(0, BLOCK)
        ids = tl.load(expert_ids_ptr + lane, mask=lane < n_choices, other=-1)
        hits = tl.sum(tl.where(ids[:, None] == e[None, :], 1, 0), axis=0)
        tl.store(counts_ptr + me * n_experts + e, hits, mask=e < n_experts)
""",
    "9.3 place_choices": """
@triton.jit
def place_choices(expert_ids_ptr, base_ptr, slot_ptr, token_idx_ptr, n_choices, n_experts,
                  TOP_K: tl.constexpr, BLOCK: tl.constexpr, EXPERTS: tl.constexpr):
    me = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    at = me * BLOCK + lane
    ids = tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1)
    ahead = (ids[:, None] == ids[None, :]) & (lane[None, :] < lane[:, None])
    first = tl.load(base_ptr + me * n_experts + ids, mask=ids >= 0, other=0)
    row = first + tl.sum(ahead.to(tl.int32), axis=1)
    tl.store(slot_ptr + at, tl.where(ids >= 0, row, -1), mask=at < n_choices)
    tl.store(token_idx_ptr + row, at // TOP_K, mask=ids >= 0)
""",
    "10.1 gathered_matmul_kernel": """
@triton.jit
def gathered_matmul_kernel(
    x_ptr, token_idx_ptr, w_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F, stride_e, stride_f, stride_d,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    e = tl.load(tile_expert_ptr + tl.program_id(0)).to(tl.int64)
    if e >= 0:
        n = tl.load(tile_begin_ptr + tl.program_id(0)) + tl.arange(0, BLOCK_ROWS)
        is_row = n < tl.load(tile_end_ptr + tl.program_id(0))
        f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
        token = tl.load(token_idx_ptr + n, mask=is_row, other=0).to(tl.int64)
        d = tl.arange(0, BLOCK_D)
        acc = tl.zeros((BLOCK_F, BLOCK_ROWS), tl.float32)  # the product, turned round
        for start in range(0, D, BLOCK_D):
            left = (start + d) < D
            w = tl.load(w_ptr + e * stride_e + f[:, None] * stride_f + (start + d)[None, :]
                        * stride_d, mask=(f < F)[:, None] & left[None, :], other=0.0)
            x = tl.load(x_ptr + token[None, :] * D + (start + d)[:, None],
                        mask=left[:, None] & is_row[None, :], other=0.0)
            acc = tl.dot(w, x, acc, input_precision="ieee")
        tl.store(out_ptr + n.to(tl.int64)[None, :] * F + f[:, None], acc,
                 mask=(f < F)[:, None] & is_row[None, :])
""",
    "10.2 find_tile_kernel": """
@triton.jit
def find_tile_kernel(
    expert_offsets_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr, E,
    BLOCK_ROWS: tl.constexpr, BLOCK_E: tl.constexpr,
):
    t = tl.program_id(0)
    owner, first, last, seen, begin = t * 0 - 1, t * 0, t * 0, t * 0, t * 0
    for e in range(E):
        end = tl.load(expert_offsets_ptr + e)
        n_tiles = (end - begin + BLOCK_ROWS - 1) // BLOCK_ROWS
        is_here = (t >= seen) & (t < seen + n_tiles)
        own = begin + (t - seen) * BLOCK_ROWS
        owner = tl.where(is_here, e, owner)
        first = tl.where(is_here, own, first)
        last = tl.where(is_here, tl.minimum(own + BLOCK_ROWS, end), last)
        seen += n_tiles
        begin = end
    tl.store(tile_expert_ptr + t, owner)
    tl.store(tile_begin_ptr + t, first)
    tl.store(tile_end_ptr + t, last)
""",
    "10.3 down_kernel": """
@triton.jit
def down_kernel(
    h_ptr, w_ptr, gates_ptr, choice_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_F: tl.constexpr,
):
    e = tl.load(tile_expert_ptr + tl.program_id(0)).to(tl.int64)
    if e >= 0:
        n = tl.load(tile_begin_ptr + tl.program_id(0)) + tl.arange(0, BLOCK_ROWS)
        is_row = n < tl.load(tile_end_ptr + tl.program_id(0))
        d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        f = tl.arange(0, BLOCK_F)
        choice = tl.load(choice_ptr + n, mask=is_row, other=0).to(tl.int64)
        gate = tl.load(gates_ptr + choice, mask=is_row, other=0.0)
        h = tl.load(h_ptr + n.to(tl.int64)[None, :] * F + f[:, None],
                    mask=(f < F)[:, None] & is_row[None, :], other=0.0)
        w = tl.load(w_ptr + (e * D + d[:, None]) * F + f[None, :],
                    mask=(d < D)[:, None] & (f < F)[None, :], other=0.0)
        told = tl.dot(w, h, input_precision="ieee") * gate.to(tl.float32)[None, :]
        tl.store(out_ptr + choice[None, :] * D + d[:, None], told,
                 mask=(d < D)[:, None] & is_row[None, :])
""",
    "10.4 weight_gradient_kernel": """
@triton.jit
def weight_gradient_kernel(
    rows_ptr, dout_ptr, expert_offsets_ptr, dw_ptr, D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    expert = tl.program_id(0).to(tl.int64)
    cols_f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    cols_d = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    stop = tl.load(expert_offsets_ptr + expert)
    start = tl.load(expert_offsets_ptr + expert - 1, mask=expert > 0, other=0)
    total = tl.zeros((BLOCK_F, BLOCK_D), tl.float32)
    for step in range(tl.cdiv(stop - start, BLOCK_ROWS)):
        n = start.to(tl.int64) + step * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        down = tl.load(  # (F, rows): read lying, so that nothing is turned round
            dout_ptr + n[None, :] * F + cols_f[:, None],
            mask=(n[None, :] < stop) & (cols_f[:, None] < F), other=0.0,
        )
        across = tl.load(
            rows_ptr + n[:, None] * D + cols_d[None, :],
            mask=(n[:, None] < stop) & (cols_d[None, :] < D), other=0.0,
        )
        total += tl.dot(down, across, input_precision="ieee")
    place = dw_ptr + expert * F * D + cols_f.to(tl.int64)[:, None] * D + cols_d[None, :]
    tl.store(place, total, mask=(cols_f[:, None] < F) & (cols_d[None, :] < D))
""",
    "10.6 experts_by_kernels": """
from moe_teach.course import mine

TILE = 8

def pieces(n):
    return (n + TILE - 1) // TILE

def power(n):
    return 2 ** math.ceil(math.log2(n)) if n > 1 else 1

def ints(*shape):
    return torch.zeros(*shape, dtype=torch.int32)

def experts_by_kernels(x, gates, expert_ids, w_gate, w_up, w_down, **kernels):
    def kernel(name, item):
        return kernels[name] if name in kernels else mine(item)

    T, K = expert_ids.shape
    E, F, D = w_up.shape
    N = T * K
    ids = expert_ids.flatten().int().contiguous()
    hits, slot, who = ints(pieces(N), E), ints(N), ints(N)
    kernel("count", "9.2")[(pieces(N),)](ids, hits, N, E, TILE, power(E))
    ends = hits.sum(0).cumsum(0).int()
    starts = torch.cat([ints(1), ends[:-1]])
    base = torch.cat([ints(1, E), hits.cumsum(0)[:-1].int()]) + starts
    kernel("place", "9.3")[(pieces(N),)](ids, base, slot, who, N, E, K, TILE, power(E))
    n_tiles = pieces(N) + E
    owner, first, last = ints(n_tiles), ints(n_tiles), ints(n_tiles)
    kernel("tiles", "10.2")[(n_tiles,)](ends, owner, first, last, E, TILE, power(E))

    def product(w):
        out = torch.zeros(N, F)
        kernel("matmul", "10.1")[(n_tiles, pieces(F))](
            x.contiguous(), who, w, out, owner, first, last, D, F, *w.stride(), TILE, TILE, TILE)
        return out

    inner, out = nnf.silu(product(w_gate)) * product(w_up), torch.zeros(T, K, D)
    kernel("down", "10.3")[(n_tiles, pieces(D))](
        inner, w_down.contiguous(), gates.contiguous(), slot.argsort().int(), out, owner, first,
        last, D, F, TILE, TILE, power(F))
    return out.sum(1)
""",
    "10.7 grouped_product": """
from moe_teach.course import mine

ROWS, WIDE = 16, 32
BACK = {"tiles": "10.2", "matmul": "10.1", "gradient": "10.4"}

def grouped_product(x, w, token_idx, expert_offsets, **kernels):
    part = {name: kernels.get(name) or mine(item) for name, item in BACK.items()}

    def times(rows, matrices, row_idx):
        E, width, depth = matrices.shape
        n_tiles = triton.cdiv(len(row_idx), ROWS) + E
        owner, first, last = (torch.empty(n_tiles, dtype=torch.int32) for _ in range(3))
        lanes = triton.next_power_of_2(E)
        part["tiles"][(n_tiles,)](expert_offsets, owner, first, last, E, ROWS, lanes)
        out = torch.empty(len(row_idx), width)
        grid = (n_tiles, triton.cdiv(width, WIDE))
        part["matmul"][grid](
            rows, row_idx, matrices, out, owner, first, last, depth, width,
            *matrices.stride(), ROWS, WIDE, WIDE,
        )
        return out

    class Times(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return times(x.contiguous(), w, token_idx)

        @staticmethod
        def backward(ctx, dout):
            x, w = ctx.saved_tensors
            E, F, D = w.shape
            dout = dout.clone(memory_format=torch.contiguous_format)
            each = torch.arange(len(dout), dtype=torch.int32)
            back_in_rows = times(dout, w.transpose(1, 2), each)
            dx = torch.zeros(x.shape)
            dx.index_put_((token_idx.long(),), back_in_rows, accumulate=True)
            dw, blocks = torch.empty(E, F, D), (E, triton.cdiv(F, WIDE), triton.cdiv(D, WIDE))
            part["gradient"][blocks](
                x[token_idx.long()], dout, expert_offsets, dw, D, F, ROWS, WIDE, WIDE
            )
            return dx, dw

    return Times.apply(x, w)
""",
}

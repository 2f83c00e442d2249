"""Encoders that transformers has only as code beside their weights, written from their papers: a tensor's names are those of
the published files. SPDX-License-Identifier: MIT """
import types

import torch
from torch import nn
from torch.nn import functional as F


class Names(nn.Module):
    """Parameters by dotted names, as modules within modules: what a state_dict shows."""
    def put(self, name, *shape):
        at = self
        for part in name.split(".")[:-1]:
            if not hasattr(at, part):
                at.add_module(part, nn.Module())
            at = getattr(at, part)
        setattr(at, name.split(".")[-1], nn.Parameter(torch.empty(shape)))

    def linear(self, name, n_out, n_in, bias=True):
        self.put(name + ".weight", n_out, n_in)
        if bias:
            self.put(name + ".bias", n_out)

    def norm(self, name):
        self.put(name + ".weight", self.n)
        self.put(name + ".bias", self.n)

    def of(self, name):
        return self.get_parameter(name) if name in self.names else None

    def x(self, name, x):
        return F.linear(x, self.of(name + ".weight"), self.of(name + ".bias"))

    def ln(self, name, x):
        return F.layer_norm(x, (self.n,), self.of(name + ".weight"), self.of(name + ".bias"), self.eps)

    def attend(self, q, k, v, bias):
        """q, k, v (t, n); bias (heads, t, t) or None"""
        d = self.n // self.heads
        q, k, v = (x.view(-1, self.heads, d).transpose(0, 1) for x in (q, k, v))
        if self.base:
            q, k = (rotated(x, self.base) for x in (q, k))
        scores = q @ k.transpose(1, 2) / d ** 0.5
        return (torch.softmax(scores if bias is None else scores + bias, -1) @ v).transpose(0, 1).reshape(-1, self.n)

    def forward(self, input_ids, attention_mask=None):
        self.names = dict(self.named_parameters())
        x = F.embedding(input_ids[0], self.of("embeddings.word_embeddings.weight"))
        x = x + self.of("embeddings.token_type_embeddings.weight")[0]
        x = self.ln(self.first_norm, x)
        for i in range(self.layers):
            x = self.layer(i, x)
        return types.SimpleNamespace(last_hidden_state=x[None])


def rotated(x, base):
    """(heads, t, d), by halves"""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class NomicMoe(Names):
    """Nomic Embed v2 (Nussbaum, Duderstadt, 2025): every other layer has experts, of whom the weights are not normalised."""
    def __init__(self, c):
        super().__init__()
        self.n, self.heads, self.layers, self.eps = c.n_embd, c.n_head, c.n_layer, c.layer_norm_epsilon
        self.base, self.first_norm, self.experts, self.used = c.rotary_emb_base, "emb_ln", c.num_experts, c.moe_top_k
        self.put("embeddings.word_embeddings.weight", c.vocab_size, self.n)
        self.put("embeddings.token_type_embeddings.weight", c.type_vocab_size, self.n)
        self.norm("emb_ln")
        for i in range(self.layers):
            at = "encoder.layers.%d." % i
            self.linear(at + "attn.Wqkv", 3 * self.n, self.n)
            self.linear(at + "attn.out_proj", self.n, self.n)
            self.norm(at + "norm1")
            self.norm(at + "norm2")
            if i % c.moe_every_n_layers == 1:
                self.linear(at + "mlp.router.layer", self.experts, self.n, False)
                self.put(at + "mlp.experts.mlp.w1", self.experts * c.n_inner, self.n)
                self.put(at + "mlp.experts.mlp.w2", self.experts * c.n_inner, self.n)
            else:
                self.linear(at + "mlp.fc1", c.n_inner, self.n)
                self.linear(at + "mlp.fc2", self.n, c.n_inner)

    def layer(self, i, x):
        at = "encoder.layers.%d." % i
        o = self.x(at + "attn.out_proj", self.attend(*self.x(at + "attn.Wqkv", x).chunk(3, -1), None))
        x = self.ln(at + "norm1", x + o)
        if self.of(at + "mlp.fc1.weight") is not None:
            y = self.x(at + "mlp.fc2", F.gelu(self.x(at + "mlp.fc1", x)))
        else:
            weights, chosen = torch.topk(torch.softmax(self.x(at + "mlp.router.layer", x), -1), self.used)
            w1, w2 = (self.of(at + "mlp.experts.mlp." + w).view(self.experts, -1, self.n) for w in ("w1", "w2"))
            y = torch.stack([sum(p * (F.gelu(row @ w1[e].T) @ w2[e]) for p, e in zip(ps, es)) for row, ps, es in zip(x, weights, chosen)])
        return self.ln(at + "norm2", x + y)


class JinaCode(Names):
    """Jina embeddings v2 for code: ALiBi both ways, norms of q and k, a norm before and one after what is added again."""
    def __init__(self, c):
        super().__init__()
        self.n, self.heads, self.layers, self.eps = c.hidden_size, c.num_attention_heads, c.num_hidden_layers, c.layer_norm_eps
        self.base, self.first_norm = None, "embeddings.LayerNorm"
        self.put("embeddings.word_embeddings.weight", c.vocab_size, self.n)
        self.put("embeddings.token_type_embeddings.weight", c.type_vocab_size, self.n)
        self.norm("embeddings.LayerNorm")
        for i in range(self.layers):
            at = "encoder.layer.%d." % i
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                self.linear(at + "attention." + part, self.n, self.n)
            for part in ("attention.self.layer_norm_q", "attention.self.layer_norm_k", "attention.output.LayerNorm", "layer_norm_1",
                         "layer_norm_2"):
                self.norm(at + part)
            self.linear(at + "mlp.up_gated_layer", 2 * c.intermediate_size, self.n, False)
            self.linear(at + "mlp.down_layer", self.n, c.intermediate_size)

    def layer(self, i, x):
        at, t = "encoder.layer.%d." % i, len(x)
        slopes = torch.tensor([2 ** (-8 * (h + 1) / self.heads) for h in range(self.heads)])
        bias = -slopes[:, None, None] * (torch.arange(t)[:, None] - torch.arange(t)).abs()
        q, k, v = (self.x(at + "attention.self." + part, x) for part in ("query", "key", "value"))
        q, k = self.ln(at + "attention.self.layer_norm_q", q), self.ln(at + "attention.self.layer_norm_k", k)
        o = self.x(at + "attention.output.dense", self.attend(q, k, v, bias))
        x = self.ln(at + "layer_norm_1", x + self.ln(at + "attention.output.LayerNorm", x + o))
        up, gate = self.x(at + "mlp.up_gated_layer", x).chunk(2, -1)
        return self.ln(at + "layer_norm_2", x + self.x(at + "mlp.down_layer", up * F.gelu(gate)))

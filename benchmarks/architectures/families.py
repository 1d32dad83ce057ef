"""Tiny models of the library's architectures: small numbers for what the config of each calls its sizes.

Windows are shorter than the rows, and scales and caps of logits far from 1, so that whoever forgets them is found out.
"""

from typing import Any

VOCABULARY = 320
"""Rows of the embeddings: more than there are tokens, as often"""
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
"""As in Llama's config and the many that follow it"""
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.2}
"""As in GPT-2's"""
EXPERTS = {"num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
SHARED_EXPERT = EXPERTS | {"shared_expert_intermediate_size": 16}
WINDOW = {"sliding_window": 4}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
DELTA = {
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
DEEPSEEK = (
    EXPERTS
    | LATENT
    | {"n_routed_experts": 2, "n_group": 1, "topk_group": 1, "num_key_value_heads": 2, "first_k_dense_replace": 1}
)
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 28,
    "patch_size": 14,
}


def _layers(*more: dict[str, Any], without: tuple[str, ...] = (), **own: Any) -> dict[str, Any]:
    sizes = {key: value for key, value in LAYERS.items() if key not in without}
    for part in more:
        sizes |= part
    return sizes | own


HEADS = ("num_key_value_heads", "head_dim")
"""Sizes that older configs do not have, or name otherwise"""

AS_LLAMA = """
    apertus arcee bitnet cwm ernie4_5 gemma glm4 helium hunyuan_v1_dense internlm3 iquestcoder jais2 llama ministral3
    nemotron olmo olmo2 phi qwen3 seed_oss smollm3 stablelm
"""
DENSE: dict[str, dict[str, Any]] = {name: _layers() for name in AS_LLAMA.split()} | {
    "biogpt": _layers(without=HEADS),
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "codegen": GPT | {"rotary_dim": 8, "n_head": 4},
    "cohere": _layers(logit_scale=0.25),
    "cohere2": _layers(WINDOW, logit_scale=0.25),
    "ctrl": {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "diffllama": _layers(num_key_value_heads=2),
    "exaone4": _layers(WINDOW),
    "falcon": _layers(without=HEADS, alibi=True, multi_query=False, new_decoder_architecture=False),
    "gemma2": _layers(WINDOW, attn_logit_softcapping=2.0, final_logit_softcapping=5.0, query_pre_attn_scalar=4),
    "gemma3_text": _layers(WINDOW),
    "glm": _layers(pad_token_id=0),
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 128,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
    },
    "gpt_neox": _layers(without=HEADS),
    "gpt_neox_japanese": _layers(without=HEADS),
    "gptj": GPT | {"rotary_dim": 8},
    "granite": _layers(logits_scaling=4.0),
    "granite_swa": _layers(WINDOW, logits_scaling=4.0),
    "hyperclovax": _layers(logits_scaling=0.25),
    "minicpm3": _layers(LATENT, num_key_value_heads=2, without=("head_dim",), dim_model_base=8),
    "ministral": _layers(WINDOW),
    "mistral": _layers(WINDOW),
    "modernbert-decoder": _layers(local_attention=4),
    "mpt": {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 128},
    "nanochat": _layers(final_logit_softcapping=5.0),
    "olmo3": _layers(WINDOW),
    "openai-gpt": GPT,
    "opt": _layers(without=HEADS, ffn_dim=64, word_embed_proj_dim=32),
    "persimmon": _layers(without=HEADS),
    "phi3": _layers(WINDOW, pad_token_id=0),
    "qwen2": _layers(WINDOW, use_sliding_window=True, max_window_layers=1),
    "starcoder2": _layers(WINDOW),
    "vaultgemma": _layers(WINDOW, final_logit_softcapping=5.0),
    "youtu": _layers(LATENT, num_key_value_heads=2, without=("head_dim",)),
    "xglm": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 2, "max_position_embeddings": 512},
}
MIXTURES: dict[str, dict[str, Any]] = {
    "deepseek_v2": _layers(DEEPSEEK, topk_method="greedy", without=("head_dim",)),
    "deepseek_v3": _layers(DEEPSEEK, without=("head_dim",)),
    "dots1": _layers(EXPERTS, n_shared_experts=1, n_routed_experts=2, n_group=1, topk_group=1),
    "ernie4_5_moe": _layers(EXPERTS, moe_num_experts=2, moe_k=1),
    "flex_olmo": _layers(EXPERTS),
    "glm4_moe": _layers(EXPERTS, n_routed_experts=2, n_group=1, topk_group=1),
    "gpt_oss": _layers(EXPERTS, WINDOW),
    "granitemoe": _layers(EXPERTS, logits_scaling=4.0),
    "granitemoeshared": _layers(EXPERTS, logits_scaling=4.0, shared_intermediate_size=16),
    "hunyuan_v1_moe": _layers(EXPERTS, moe_topk=1),
    "jetmoe": _layers(EXPERTS, kv_channels=16, without=("head_dim", "num_attention_heads")),
    "minimax_m2": _layers(EXPERTS),
    "mixtral": _layers(EXPERTS),
    "olmoe": _layers(EXPERTS),
    "phimoe": _layers(EXPERTS),
    "qwen2_moe": _layers(SHARED_EXPERT),
    "qwen3_moe": _layers(EXPERTS),
}
HYBRID: dict[str, dict[str, Any]] = {
    "bamba": _layers(MAMBA, attn_layer_indices=[1]),
    "falcon_h1": _layers(MAMBA, mamba_d_ssm=32, mamba_d_head=8, lm_head_multiplier=0.25),
    "falcon_mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "granitemoehybrid": _layers(
        EXPERTS, MAMBA, layer_types=["mamba", "attention"], shared_intermediate_size=16, logits_scaling=4.0
    ),
    "jamba": _layers(
        EXPERTS,
        attn_layer_period=2,
        attn_layer_offset=1,
        use_mamba_kernels=False,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
    "lfm2": _layers(layer_types=["conv", "full_attention"]),
    "lfm2_moe": _layers(EXPERTS, layer_types=["conv", "full_attention"], num_dense_layers=1),
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 4,
        "head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "minimax": _layers(EXPERTS, block_size=8),
    "nemotron_h": _layers(
        hybrid_override_pattern="M*", mamba_num_heads=4, mamba_head_dim=16, ssm_state_size=8, n_groups=1
    ),
    "olmo_hybrid": _layers(DELTA),
    "qwen3_5_text": _layers(DELTA),
    "qwen3_next": _layers(SHARED_EXPERT, DELTA),
    "recurrent_gemma": _layers(lru_width=32, attention_window_size=4, num_hidden_layers=3, logits_soft_cap=5.0),
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
    "xlstm": {"hidden_size": 32, "num_heads": 2, "num_blocks": 2, "chunk_size": 8, "output_logit_soft_cap": 5.0},
    "zamba": _layers(
        num_hidden_layers=4,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
        use_mamba_kernels=False,
        n_mamba_heads=2,
        mamba_d_state=4,
        mamba_dt_rank=4,
        num_key_value_heads=2,
    ),
    "zamba2": _layers(
        mamba_d_state=8,
        n_mamba_heads=4,
        mamba_headdim=16,
        num_hidden_layers=3,
        layers_block_type=["mamba", "hybrid", "mamba"],
        hybrid_layer_ids=[1],
        use_mem_rope=True,
        num_key_value_heads=2,
    ),
}
COMPOSITE: dict[str, dict[str, Any]] = {
    "gemma3": {"text_config": _layers(WINDOW, final_logit_softcapping=5.0), "vision_config": VISION},
    "qwen3_5": {"text_config": _layers(DELTA), "vision_config": VISION | {"depth": 1, "num_heads": 1}},
}
NOT_CAUSAL: dict[str, dict[str, Any]] = {name: _layers(without=HEADS) for name in ("bert", "electra", "roformer")} | {
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
}
FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "attention": DENSE,
    "mixture of experts": MIXTURES,
    "recurrent and hybrid": HYBRID,
    "with pictures": COMPOSITE,
    "not made to write": NOT_CAUSAL,
}
"""Model types as the library's configs name them, by what they are made of"""

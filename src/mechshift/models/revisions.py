"""Commits of published checkpoints, so that the same name means the same bytes tomorrow.

Each was read in public code or notes that load the repository at this commit, or on a page of the
hub's own that shows a file at it. None is guessed: what is missing here has no commit that we know
of, and is loaded as the hub has it now.
"""

REVISIONS: dict[str, str] = {
    "Qwen/Qwen2.5-3B": "3aab1f1954e9cc14eb9509a215f9e5ca08227a9b",
    "Qwen/Qwen2.5-7B": "d149729398750b98c0af14eb82c78cfe92750796",
    "Qwen/Qwen2.5-32B": "1818d35814b8319459f4bd55ed1ac8709630f003",
    "Qwen/Qwen2.5-1.5B-Instruct": "989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
    "Qwen/Qwen2.5-7B-Instruct": "a09a35458c702b33eeacc393d103063234e8bc28",
    "Qwen/Qwen2.5-Coder-7B": "0396a76181e127dfc13e5c5ec48a8cee09938b02",
    "Qwen/Qwen3-0.6B": "c1899de289a04d12100db370d81485cdf75e47ca",
    "Qwen/Qwen3-1.7B-Base": "ea980cb0a6c2ae4b936e82123acc929f1cec04c1",
    "Qwen/Qwen3-4B": "1cfa9a7208912126459214e8b04321603b3df60c",
    "Qwen/Qwen3-4B-Base": "906bfd4b4dc7f14ee4320094d8b41684abff8539",
    "Qwen/Qwen3-8B": "b968826d9c46dd6066d109eabc6255188de91218",
    "Qwen/Qwen3-8B-Base": "49e3418fbbbca6ecbdf9608b4d22e5a407081db4",
    "Qwen/Qwen3-30B-A3B": "ad44e777bcd18fa416d9da3bd8f70d33ebb85d39",
    "meta-llama/Llama-2-7b-hf": "01c7f73d771dfac7d292323805ebc428287df4f9",
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "Dream-org/Dream-v0-Base-7B": "6572adb5535263e4d1a337b56942ba48b6dee2a9",
    "Dream-org/Dream-v0-Instruct-7B": "05334cb9faaf763692dcf9d8737c642be2b2a6ae",
    "Dream-org/Dream-Coder-v0-Instruct-7B": "5d9e88c723af9045f362748b5284bdf43d9c501e",
    "apple/DiffuCoder-7B-Instruct": "4fdd4580064ca5d11808069ce78f88d068753c96",
    "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1": "60f77bba67ba94231c16f5fb29bc66c500b038f1",
    "JetLM/SDAR-8B-Chat": "ac4528d2c076b04e02a03e6f430efa4385331ce8",
    "JetLM/SDAR-30B-A3B-Chat": "f5add2a159163a2a8f07e9da7dfcbfaadc73d6d4",
    "Efficient-Large-Model/Fast_dLLM_v2_1.5B": "25093b6f63300adfd57f72145083c8a528fe4f16",
    "Efficient-Large-Model/Fast_dLLM_v2_7B": "0661abf5f9f0ee338970d091052a26c8efa51974",
    "ByteDance-Seed/Stable-DiffCoder-8B-Base": "4656ed093c1841d426eb805ffeb06aa73480827c",
    "ByteDance-Seed/Stable-DiffCoder-8B-Instruct": "c64e8ca8f7ba1739fe78d3ea17dc79248bd58c67",
    "OpenGVLab/SDLM-3B-D8": "668d325eb35478cfe160450589c96ffc2202d1df",
    "OpenGVLab/SDLM-32B-D4": "ac29e431ebbcef2e7292ed0301dd28af39022ebe",
    "nvidia/Nemotron-Labs-Diffusion-8B-Base": "59ff0ffee284112fc6ccf37493ced41a11031434",
    "nvidia/Nemotron-Labs-Diffusion-8B": "16c67f0560b912e93e0cabb6e0c4f5c3086d95fc",
    "nvidia/Nemotron-Labs-Diffusion-14B": "f8c3e2c078e193599b8882d965b1001c456ba738",
    "GSAI-ML/LLaDA-8B-Base": "0f2787f2d87eac5eed8a087d5ecd24277e6255b2",
    "GSAI-ML/LLaDA-8B-Instruct": "08b83a6feb34df1a6011b80c3c00c7563e963b07",
    "GSAI-ML/LLaDA-1.5": "84346fd91ba60252d260022201ad6fc5a3468fb2",
}
"""Hub id -> commit, in full: the hub takes no shorter one."""

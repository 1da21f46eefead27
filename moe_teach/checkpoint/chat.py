"""How a conversation is written as one text, for models that were not trained on conversations.

The template is in Jinja, as transformers, llama.cpp and vLLM read it. It uses no special token,
so any tokenizer can write it: each message has a line with its role, and the answer begins after
the last one's.
"""

PLAIN_CHAT = (
    "{%- for message in messages -%}"
    "{{- message['role'] + ':\\n' + message['content'] + '\\n\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant:\\n' -}}{%- endif -%}"
)

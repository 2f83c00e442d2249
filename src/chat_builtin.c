/* chat_builtin.c -- chat templates for model files that carry none, as Jinja text for the same interpreter, and the
 * choice of one.
 *
 * The choice looks only at which special tokens the vocabulary has: a model without any of them was never taught
 * turns, and is not to be wrapped in them. Names are those of formats, not of models. Pure data and two functions;
 * nothing is allocated.
 * SPDX-License-Identifier: MIT */

struct chat_builtin_template {
  const char *name, *marker; // the special token that tells; NULL: only by name
  const char *source;
};

/* Content may be a string or a list of parts, of which the text parts count. */
#define CHAT_TEXT_OF \
  "{%- macro text_of(content) -%}{%- if content is string -%}{{- content -}}{%- elif content -%}" \
  "{%- for part in content -%}{%- if part.text is string -%}{{- part.text -}}{%- endif -%}{%- endfor -%}" \
  "{%- endif -%}{%- endmacro -%}"

/* Formats without a system role put it in front of the first user message. */
#define CHAT_FOLD_SYSTEM \
  "{%- set ns = namespace(system='') -%}" \
  "{%- if messages and messages[0].role in ['system', 'developer'] -%}" \
  "{%- set ns.system = text_of(messages[0].content) | trim -%}{%- set messages = messages[1:] -%}{%- endif -%}"

static const struct chat_builtin_template chat_builtins[] = {
  {"gemma-turns", "<start_of_turn>",
   CHAT_TEXT_OF CHAT_FOLD_SYSTEM
   "{{- bos_token -}}"
   "{%- for m in messages -%}"
   "{{- '<start_of_turn>' }}{% if m.role == 'assistant' %}model{% else %}{{ m.role }}{% endif %}{{ '\\n' -}}"
   "{%- if loop.first and ns.system -%}{{- ns.system + '\\n\\n' -}}{%- endif -%}"
   "{{- text_of(m.content) | trim }}{{ '<end_of_turn>\\n' -}}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"},
  {"chatml", "<|im_start|>",
   CHAT_TEXT_OF
   "{%- for m in messages -%}"
   "{{- '<|im_start|>' }}{{ m.role }}{{ '\\n' }}{{ text_of(m.content) }}{{ '<|im_end|>\\n' -}}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"},
  {"llama3-headers", "<|start_header_id|>",
   CHAT_TEXT_OF
   "{{- bos_token -}}"
   "{%- for m in messages -%}"
   "{{- '<|start_header_id|>' }}{{ m.role }}{{ '<|end_header_id|>\\n\\n' -}}"
   "{{- text_of(m.content) | trim }}{{ '<|eot_id|>' -}}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"},
  {"phi3-turns", "<|end|>",
   CHAT_TEXT_OF
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- '<|assistant|>\\n' -}}"
   "{%- elif m.role in ['system', 'developer'] -%}{{- '<|system|>\\n' -}}"
   "{%- else -%}{{- '<|user|>\\n' -}}{%- endif -%}"
   "{{- text_of(m.content) }}{{ '<|end|>\\n' -}}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}"},
  {"zephyr", "<|user|>",
   CHAT_TEXT_OF
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- '<|assistant|>\\n' -}}"
   "{%- elif m.role in ['system', 'developer'] -%}{{- '<|system|>\\n' -}}"
   "{%- else -%}{{- '<|user|>\\n' -}}{%- endif -%}"
   "{{- text_of(m.content) }}{{ eos_token }}{{ '\\n' -}}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}"},
  {"mistral-inst", "[INST]",
   CHAT_TEXT_OF CHAT_FOLD_SYSTEM
   "{{- bos_token -}}"
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- ' ' }}{{ text_of(m.content) | trim }}{{ eos_token -}}"
   "{%- else -%}{{- '[INST] ' -}}"
   "{%- if loop.first and ns.system -%}{{- ns.system + '\\n\\n' -}}{%- endif -%}"
   "{{- text_of(m.content) }}{{ ' [/INST]' -}}{%- endif -%}"
   "{%- endfor -%}"},
  {"llama2-inst", NULL,
   CHAT_TEXT_OF CHAT_FOLD_SYSTEM
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- ' ' }}{{ text_of(m.content) | trim }}{{ ' ' }}{{ eos_token -}}"
   "{%- else -%}{{- bos_token }}{{ '[INST] ' -}}"
   "{%- if loop.first and ns.system -%}{{- '<<SYS>>\\n' }}{{ ns.system }}{{ '\\n<</SYS>>\\n\\n' -}}{%- endif -%}"
   "{{- text_of(m.content) | trim }}{{ ' [/INST]' -}}{%- endif -%}"
   "{%- endfor -%}"},
  {"vicuna", NULL,
   CHAT_TEXT_OF
   "{{- bos_token -}}"
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- 'ASSISTANT: ' }}{{ text_of(m.content) }}{{ eos_token }}{{ '\\n' -}}"
   "{%- elif m.role in ['system', 'developer'] -%}{{- text_of(m.content) }}{{ '\\n\\n' -}}"
   "{%- else -%}{{- 'USER: ' }}{{ text_of(m.content) }}{{ '\\n' -}}{%- endif -%}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}"},
  {"alpaca", NULL,
   CHAT_TEXT_OF
   "{{- bos_token -}}"
   "{%- for m in messages -%}"
   "{%- if m.role == 'assistant' -%}{{- '### Response:\\n' }}{{ text_of(m.content) }}{{ eos_token }}{{ '\\n\\n' -}}"
   "{%- elif m.role in ['system', 'developer'] -%}{{- text_of(m.content) }}{{ '\\n\\n' -}}"
   "{%- else -%}{{- '### Instruction:\\n' }}{{ text_of(m.content) }}{{ '\\n\\n' -}}{%- endif -%}"
   "{%- endfor -%}"
   "{%- if add_generation_prompt -%}{{- '### Response:\\n' -}}{%- endif -%}"},
};

/* The text of the built-in template of that name; STR_NONE if there is none. */
static struct str chat_builtin(struct str name) {
  for (int i = 0; i < ARRAY_LEN(chat_builtins); i++)
    if (str_is(name, chat_builtins[i].name)) return str_from(chat_builtins[i].source);
  return STR_NONE;
}

/* The name of the built-in template whose special token the vocabulary has; STR_NONE for a base model. */
static struct str chat_choose(bool (*has_token)(void *vocabulary, struct str token), void *vocabulary) {
  for (int i = 0; i < ARRAY_LEN(chat_builtins); i++)
    if (chat_builtins[i].marker && has_token(vocabulary, str_from(chat_builtins[i].marker)))
      return str_from(chat_builtins[i].name);
  return STR_NONE;
}

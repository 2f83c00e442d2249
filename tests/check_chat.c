/* check_chat.c -- chat templates: the language, against what jinja2 prints; origins of bytes; bounds; the built-in
 * ones.
 * SPDX-License-Identifier: MIT */

static const char chat_test_messages[] =
  "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\" Hi <|im_end|> \\u00e9 \"},"
  "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":[2.5,"
  "true,null]}}]}]";
static const char chat_test_kwargs[] =
  "{\"n\":5,\"f\":2.5,\"s\":\"aXb,c\",\"l\":[3,1,2],\"w\":[\"b\",\"A\",\"c\"],\"d\":{\"b\":2,\"A\":1},"
  "\"big\":123456789012345678901,"
  "\"html\":\"<&>\",\"lines\":\"one\\ntwo\\n\\nend\",\"o\":null}";

static bool chat_try(struct str source, const char *messages, const char *kwargs, struct arena *a,
                     struct chat_prompt *p, struct bk_error *e) {
  struct json *m, *k;
  struct bk_error none = {0};
  ck_assert_msg(json_parse(str_from(messages), a, &m, &none), "%s", none.message);
  ck_assert_msg(json_parse(str_from(kwargs), a, &k, &none), "%s", none.message);
  const struct chat_template *t = chat_compile(source, a, e);
  struct chat_input in = {.messages = m, .kwargs = k, .bos_token = STR("<s>"), .eos_token = STR("</s>"), .now =
                          STR("2026-01-15T12:34:56")};
  if (!t || !chat_render(t, &in, a, 1 << 20, p, e)) {
    ck_assert_msg(e->code == ERR_DATA && e->message[0], "an error without a sentence");
    return false;
  }
  uint32_t at = 0;
  for (int i = 0; i < p->n_spans; i++) { // in order, none empty, neighbours differ
    ck_assert_uint_eq(p->spans[i].beg, at);
    ck_assert_uint_gt(p->spans[i].end, at);
    ck_assert(i == 0 || p->spans[i].from_user != p->spans[i - 1].from_user);
    at = p->spans[i].end;
  }
  ck_assert_uint_eq(at, p->text.len);
  return true;
}

static void chat_gives(const char *source, const char *expected) {
  static struct arena whole;
  if (!whole.beg) whole = test_arena(16 << 20);
  struct arena a = whole;
  struct bk_error e = {0};
  struct chat_prompt p;
  ck_assert_msg(chat_try(str_from(source), chat_test_messages, chat_test_kwargs, &a, &p, &e), "%s: %s", source,
                e.message);
  ck_assert_msg(str_is(p.text, expected), "%s\n gives \"%.*s\"\n   not \"%s\"", source, (int)p.text.len, p.text.ptr,
                expected);
}

static void chat_refuses(const char *source, const char *sentence) {
  struct arena a = test_arena(64 << 20);
  struct bk_error e = {0};
  struct chat_prompt p;
  ck_assert_msg(!chat_try(str_from(source), chat_test_messages, chat_test_kwargs, &a, &p, &e), "accepted: %.200s",
                source);
  test_error(&e, ERR_DATA, sentence);
}

/* With user text in brackets. */
static void chat_marks(const char *source, const char *expected) {
  struct arena a = test_arena(16 << 20);
  struct bk_error e = {0};
  struct chat_prompt p;
  ck_assert_msg(chat_try(str_from(source), chat_test_messages, chat_test_kwargs, &a, &p, &e), "%s: %s", source,
                e.message);
  struct buf b = buf_new(&a, 4096);
  for (int i = 0; i < p.n_spans; i++) {
    if (p.spans[i].from_user) buf_byte(&b, '{');
    buf_put(&b, str_slice(p.text, p.spans[i].beg, p.spans[i].end));
    if (p.spans[i].from_user) buf_byte(&b, '}');
  }
  buf_byte(&b, 0);
  ck_assert_msg(strcmp(b.ptr, expected) == 0, "%s\n gives \"%s\"\n   not \"%s\"", source, b.ptr, expected);
}

struct chat_expected_text {
  const char *source, *expected;
};

static void chat_all(const struct chat_expected_text *cases, int n) {
  for (int i = 0; i < n; i++) chat_gives(cases[i].source, cases[i].expected);
}

#define CHAT_CASES(name, ...)                        \
  START_TEST(name) {                                 \
    static const struct chat_expected_text cases[] = {__VA_ARGS__}; \
    chat_all(cases, ARRAY_LEN(cases));               \
  }                                                  \
  END_TEST

CHAT_CASES(chat_whitespace,
  {"a\n", "a"}, {"a\n\n", "a\n"}, {"a\r\nb\r", "a\nb"}, {"  {% if true %}\nx\n  {% endif %}\ny", "x\ny"},
  {"a {% if true %} b {% endif %} c", "a  b  c"}, {"  {%+ if true %}\nx{% endif %}", "  x"},
  {"{% if true +%}\nx{% endif %}", "\nx"}, {"a \n {%- if true -%} \n b {%- endif -%} \n c", "abc"},
  {"a \n {{- 'x' -}} \n b", "axb"}, {"  {{ 'x' }}\ny", "  x\ny"}, {"a\n  {# note #}\nb", "a\nb"},
      {"a {#- note -#} b", "ab"},
  {"{% raw %}{{ x }}{% if %}{% endraw %}", "{{ x }}{% if %}"}, {"a {%- raw -%} {{ x }} {%- endraw -%} b", "a{{ x }}b"},
  {"\n\n{{ 'x' }}", "\n\nx"}, {"{% set x = 1 %}\n\nb", "\nb"}, {"{ % } {a} #}", "{ % } {a} #}"}, {"", ""})

CHAT_CASES(chat_literals,
  {"{{ 'a\\n\\t\\x41\\u00e9\\'\\q' }}", "a\n\tA\xC3\xA9'\\q"}, {"{{ 'a' \"b\" }}", "ab"}, {"{{ 1_000 + 2 }}", "1002"},
  {"{{ 1.5e3 }}", "1500.0"}, {"{{ [1, 'a', None, True, 2.0, ('x',)] }}", "[1, 'a', None, True, 2.0, ('x',)]"},
  {"{{ {'a': {}, 'b': []} }}", "{'a': {}, 'b': []}"}, {"{{ (1, 2) }}{{ () }}", "(1, 2)()"}, {"{{ 1, 2 }}", "(1, 2)"},
  {"{{ \"it's\" ~ ['it\\'s', '\"', '\\\\'] }}", "it's[\"it's\", '\"', '\\\\']"},
      {"{{ none }}{{ true }}{{ False }}", "NoneTrueFalse"},
  {"{{ {'a': 1,}['a'] }}", "1"}, {"{{ big }} {{ [big] | tojson }}", "123456789012345678901 [123456789012345678901]"})

CHAT_CASES(chat_arithmetic_like_python,
  {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }}", "3 -4 2 -2"}, {"{{ 7 / 2 }} {{ 4 / 2 }}", "3.5 2.0"},
  {"{{ (-9223372036854775807) % 41 }} {{ 9223372036854775807 % -41 }} {{ (-9223372036854775807 - 1) % 9223372036854775807 }}",
   "34 -34 9223372036854775806"},
  {"{{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }}", "1024 0.5 4"}, {"{{ 2.5 // 0.1 }} {{ -5.5 % 2 }}", "24.0 0.5"},
  {"{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 0.1 + 0.2 }}",
   "1e+16 1000000000000000.0 0.0001 1e-05 0.30000000000000004"},
  {"{{ 'ab' * 3 }}{{ [1] * 2 }}{{ 'a' * -1 }}", "ababab[1, 1]"}, {"{{ 'a' ~ 1 ~ none ~ 2.0 }}", "a1None2.0"},
  {"{{ 2 ~ 3 * 4 }}", "212"}, {"{{ True + 1 }}", "2"}, {"{{ [1] + [2] }}{{ (1,) + (2,) }}", "[1, 2](1, 2)"},
  {"{{ '%s-%05.1f|%-4d|%x' % ('a', 3.14159, 7, 255) }}", "a-003.1|7   |ff"}, {"{{ '%(k)s %%' % {'k': 1} }}", "1 %"})

CHAT_CASES(chat_comparisons,
  {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}", "True False"},
      {"{{ 'a' in 'cab' }} {{ 2 in [1, 2] }} {{ 'b' in d }} {{ 1 not in l }}", "True True True False"},
  {"{{ 1 == 1.0 }} {{ 1 == True }} {{ '1' == 1 }} {{ [1] == (1,) }}", "True True False False"},
      {"{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}", "True"},
  {"{{ not 1 == 2 }} {{ 1 and 0 or 'x' }} {{ 0 or none }}", "True x None"},
      {"{{ nope == none }} {{ nope == nada }}", "False True"},
  {"{{ 'x' if 0 else 'y' }}{{ 'x' if 0 }}", "y"}, {"{{ 'b' > 'a' }} {{ [1, 2] < [1, 3] }}", "True True"})

CHAT_CASES(chat_subscripts,
  {"{{ 'h\xC3\xA9llo'[1] }} {{ 'h\xC3\xA9llo'[::-1] }} {{ 'h\xC3\xA9llo'[-3:] }} {{ 'h\xC3\xA9llo'|length }}",
   "\xC3\xA9 oll\xC3\xA9h llo 5"},
  {"{{ l[1:] }} {{ l[::-1] }} {{ l[-1] }} {{ l[5] is defined }} {{ l[:-1] }} {{ l[::2] }}",
   "[1, 2] [2, 1, 3] 2 False [3, 1] [3, 2]"},
  {"{{ messages[0].role }} {{ messages[0]['role'] }} {{ messages.0.role }}", "system system system"},
  {"{{ d.items is defined }} {{ d['items'] is defined }} {{ d.b }} {{ d.nope }}|", "True True 2 |"},
      {"{{ 'abc'[10:] }}|{{ 'abc'[-10:2] }}", "|ab"})

CHAT_CASES(chat_filters_text,
  {"{{ ' a '|trim }}|{{ 'xax'|trim('x') }}", "a|a"},
      {"{{ 'aB'|upper }}{{ 'aB'|lower }}{{ 'hello world'|title }}{{ 'aBC'|capitalize }}", "ABabHello WorldAbc"},
  {"{{ 'aXbX'|replace('X', '-') }}{{ 'aaa'|replace('a', 'b', 2) }}", "a-b-bba"},
      {"{{ lines|indent }}", "one\n    two\n\n    end"},
  {"{{ lines|indent(2, true) }}", "  one\n  two\n\n  end"}, {"{{ '%s=%s'|format('a', 1) }}", "a=1"},
      {"{{ 'a b c'|wordcount }}", "3"},
  {"{{ 'abcdefghij'|truncate(5, true, '..', 0) }}", "abc.."}, {"{{ 'ab'|center(6) }}|", "  ab  |"},
      {"{{ html|e }}{{ html }}", "&lt;&amp;&gt;<&>"},
  {"{{ ('<' | safe) + '<' }}", "<&lt;"}, {"{{ 5|string + '!' }}", "5!"},
      {"{{ '\xC3\xA9'|upper }}{{ '\xD0\x96'|lower }}", "\xC3\x89\xD0\xB6"})

CHAT_CASES(chat_filters_json,
  {"{{ messages[2].tool_calls|tojson }}", "[{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [2.5, true, null]}}]"},
  {"{{ d|tojson(indent=2) }}", "{\n  \"b\": 2,\n  \"A\": 1\n}"},
      {"{{ d|tojson(sort_keys=true, separators=(',', ':')) }}", "{\"A\":1,\"b\":2}"},
  {"{{ '\xC3\xA9<\\n'|tojson }} {{ '\xC3\xA9\xF0\x9F\x98\x80'|tojson(ensure_ascii=true) }}",
   "\"\xC3\xA9<\\n\" \"\\u00e9\\ud83d\\ude00\""},
  {"{{ [] | tojson(indent=2) }}{{ {}|tojson }}{{ {1: none, true: 2}|tojson }}", "[]{}{\"1\": 2}"},
      {"{{ ('{\"a\":[1]}'|from_json).a[0] + 1 }}", "2"},
  {"{{ 1.0|tojson }} {{ 1e20|tojson }}", "1.0 1e+20"})

CHAT_CASES(chat_filters_sequences,
  {"{{ l|sort }}{{ l|sort(reverse=true) }}{{ w|sort }}{{ w|sort(case_sensitive=true) }}",
   "[1, 2, 3][3, 2, 1]['A', 'b', 'c']['A', 'b', 'c']"},
  {"{{ l|join('-') }} {{ l|first }} {{ l|last }} {{ l|length }} {{ l|sum }} {{ l|min }} {{ l|max }}",
   "3-1-2 3 2 3 6 1 3"},
  {"{{ d|dictsort }} {{ d|items|list }} {{ d.keys()|list }} {{ d|list }}",
   "[('A', 1), ('b', 2)] [('b', 2), ('A', 1)] ['b', 'A'] ['b', 'A']"},
  {"{{ messages|map(attribute='role')|join(',') }}", "system,user,assistant"},
      {"{{ w|map('upper')|list }}", "['B', 'A', 'C']"},
  {"{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "1"},
      {"{{ messages|rejectattr('content')|map(attribute='role')|list }}", "['assistant']"},
  {"{{ l|select('odd')|list }}{{ l|reject('>', 1)|list }}{{ o|select|list }}", "[3, 1][1][]"},
      {"{{ ['a', 'A', 'b']|unique|list }}", "['a', 'b']"},
  {"{{ l|batch(2, 0)|list }} {{ l|slice(2)|list }} {{ l|reverse|list }}", "[[3, 1], [2, 0]] [[3, 1], [2]] [2, 1, 3]"},
  {"{{ nope|default('x') }}{{ ''|default('y', true) }}{{ o|d('z') }}", "xyNone"},
      {"{{ '12'|int + 1 }} {{ 'x'|int(7) }} {{ '1.9'|int }} {{ '2'|float }}", "13 7 1 2.0"},
  {"{{ 2.5|round }} {{ 2.567|round(2) }} {{ 2.1|round(method='ceil') }} {{ -3|abs }}", "2.0 2.57 3.0 3"})

CHAT_CASES(chat_is_tests,
  {"{{ nope is defined }} {{ o is none }} {{ s is string }} {{ d is mapping }} {{ l is iterable }} {{ 1 is number }}",
   "False True True True True True"},
  {"{{ s is sequence }} {{ l|map('string') is sequence }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }}",
   "True False True True True"},
  {"{{ 4 is divisibleby 2 }} {{ 3 is odd }} {{ 1 is in [1] }} {{ 1 is not none }} {{ 'a' is eq('a') }} {{ 2 is gt 1 }}",
   "True True True True True True"},
  {"{{ true is true }} {{ 1 is true }} {{ nope is undefined and s is lower }} {{ 'A' is upper }}",
   "True False False True"})

CHAT_CASES(chat_methods,
  {"{{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }}",
   "['a', 'b', 'c'] ['a', 'b'] ['a', 'b c'] ['a b', 'c']"},
  {"{{ ' a '.strip() }}|{{ 'xa'.lstrip('x') }}|{{ 'a\\n'.rstrip('\\n') }}", "a|a|a"},
      {"{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }}", "True True"},
  {"{{ '{} {0} {k}'.replace('{0}', '').format('a', k='b') }}", "a  b"},
      {"{{ '{:>5}|{:<4}|{:05.2f}'.format('a', 'b', 1.5) }}", "    a|b   |01.50"},
  {"{{ d.get('b') }} {{ d.get('x') }} {{ d.get('x', 0) }} {{ d.items()|list }}", "2 None 0 [('b', 2), ('A', 1)]"},
  {"{{ 'abc'.find('c') }} {{ 'a-b'.partition('-') }} {{ '-'.join(w) }} {{ 'x'.zfill(3) }}",
   "2 ('a', '-', 'b') b-A-c 00x"},
  {"{% set x = [1] %}{% set _ = x.append(2) %}{{ x }}{{ x.pop(0) }}{{ x }}", "[1, 2]1[2]"},
      {"{{ lines.splitlines() }}", "['one', 'two', '', 'end']"})

CHAT_CASES(chat_statements,
  {"{% for x in l %}{{ loop.index }}{{ loop.last }}{{ x }} {% endfor %}", "1False3 2False1 3True2 "},
      {"{% for x in [] %}a{% else %}b{% endfor %}", "b"},
  {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=2;A=1;"},
      {"{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% endfor %}", "3222"},
  {"{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "3"},
      {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
  {"{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "4231"},
      {"{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "7"},
  {"{% macro m(a, b='d', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}", "1d11d2"},
      {"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, k=2) }}", "(1,){'k': 2}"},
  {"{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"},
  {"{% set x %} a {{ n }} {% endset %}{{ x|trim }}", "a 5"}, {"{% set x | upper %}a{% endset %}{{ x }}", "A"},
      {"{% filter upper|trim %} a {% endfilter %}", "A"},
  {"{% set a, b = 1, 2 %}{{ b }}{{ a }}", "21"}, {"{% with x = 3 %}{{ x }}{% endwith %}{{ x }}", "3"},
      {"{% generation %}a{% set q = 1 %}{% endgeneration %}{{ q }}", "a"},
  {"{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(2) %}{{ x }}!{% endcall %}", "[2!]"},
      {"{% set j = joiner('|') %}{{ j() }}a{{ j() }}b", "a|b"},
  {"{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}", "b"},
      {"{% for x in range(3) %}{{ loop.previtem }}{{ loop.nextitem }},{% endfor %}", "1,02,1,"},
  {"{% for x in l %}{{ tools }}{% endfor %}{% set tools = 1 %}{{ tools }}", "1"},
      {"{{ range(2, 9, 3)|list }}{{ range(3) }}", "[2, 5, 8]range(0, 3)"},
  {"{% if false %}{{ 1|no_such_filter }}{% endif %}ok", "ok"},
      {"{{ strftime_now('%d %b %Y %H:%M %j %A %-d') }}", "15 Jan 2026 12:34 015 Thursday 15"},
  {"{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ documents }}{{ add_generation_prompt }}", "<s></s>NoneFalse"})

START_TEST(chat_errors) {
  static const struct chat_expected_text cases[] = {
    {"a\n  {% include 'x' %}", "line 2, column 3: the tag 'include' is not supported"},
        {"{{ 1|no_such }}", "line 1, column 6: the filter 'no_such' is not supported"},
    {"{{ 1 is no_such }}", "the test 'no_such'"}, {"{{ a", "a tag without its end"},
        {"{% if x %}", "a block without its end"}, {"{% endif %}", "'endif'"},
    {"{{ }}", "an expression was expected"}, {"{{ 'a }}", "a string without its end"},
        {"{# a", "a comment without its end"}, {"{% raw %}a", "without {% endraw %}"},
    {"{{ (1 }}", "a closing bracket that none opened"}, {"{{ 1) }}", "a closing bracket"},
        {"{% break %}", "outside of a loop"}, {"{{ 99999999999999999999 }}", "too large"},
    {"{{ '\\ud800' }}", "no character"}, {"{{ nope.x }}", "'nope' is undefined"},
        {"{{ messages[0].x.y }}", "'x' is undefined"}, {"{{ 'a' + 1 }}", "between str and int"},
    {"{{ nope() }}", "'nope' is undefined"}, {"{{ 1 / 0 }}", "division by zero"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"}, {"{{ 2 ** 64 }}", "64 bits"},
    {"{% for x in 1 %}{% endfor %}", "not iterable"}, {"{% for a, b in l %}{% endfor %}", "not iterable"},
        {"{{ nope|tojson }}", "as JSON"}, {"{{ l|map('upper')|tojson }}", "generator"},
    {"{{ raise_exception('no ' ~ 'way') }}", "the template refuses this conversation: no way"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "not more than 1"},
    {"{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "no argument 'b'"},
        {"{% set x = 1 %}{% set x.y = 2 %}", "no namespace"}, {"{{ 'x' is in 5 }}", "not iterable"},
    {"{{ 1 < 'a' }}", "not supported between"}, {"{% for x in l recursive %}{% endfor %}",
                                                 "recursive loops are not supported"},
                                                     {"{{ 'abc'.nope() }}", "'nope' is undefined"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) chat_refuses(cases[i].source, cases[i].expected);
  struct arena a = test_arena(1 << 20);
  struct bk_error e = {0};
  ck_assert_ptr_null(chat_compile(STR("a\xff"), &a, &e));
  test_error(&e, ERR_DATA, "UTF-8");
}
END_TEST

START_TEST(chat_bounds) {
  static char deep[40000];
  chat_refuses("{% for x in range(1000000000) %}{% endfor %}", "more than 100000");
  chat_refuses("{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}", "");
  chat_refuses("{% for x in range(99999) %}{% if x == 1 or x == 2 or x == 3 or x == 4 %}{% endif %}{% endfor %}",
               "steps");
  chat_refuses("{{ 'a' * 1000000000 }}", "steps");
  chat_refuses("{{ 'aaaaaaaaaaaaaaaa' * 1000000000 }}", "longer than");
  chat_refuses("{{ [0] * 1000000000 }}", "steps");
  chat_refuses("{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
               "");
  chat_refuses("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deeper than");
  chat_refuses("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "deeper than");
  chat_refuses("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", "deeper than");
  chat_refuses("{{ '%999999999d' % 1 }}{{ '%999999999s'|format('a') * 99 }}", "");
  chat_refuses("{{ lines|indent(99999999) * 99 }}", "");
  chat_refuses("{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "longer than");
  static const char *const pieces[][2] = {{"(", "{{ "}, {"[", "{{ "}, {"not ", "{{ "}, {"- ", "{{ "},
                                          {"{% if 1 %}", ""}, {"{'a':", "{{ "},
                                          {"1 if 1 else ", "{{ "}, {"a[", "{{ "}, {"f(", "{{ "}, {"{% set x %}", ""},
                                              {"(", "{% set "}};
  for (int i = 0; i < ARRAY_LEN(pieces); i++) { // none of these may exhaust the C stack
    struct buf b = {deep, 0, sizeof deep - 1, false};
    buf_put(&b, str_from(pieces[i][1]));
    while (!b.full) buf_put(&b, str_from(pieces[i][0]));
    deep[b.len] = 0;
    chat_refuses(deep, "deep");
  }
  struct buf b = {deep, 0, 30000, false}; // while a long chain is no nesting at all
  buf_put(&b, STR("{{ 0"));
  while (b.len < 20000) buf_put(&b, STR(" + 1"));
  buf_put(&b, STR(" }}"));
  deep[b.len] = 0;
  chat_gives(deep, "4999");
}
END_TEST

START_TEST(chat_no_memory) { // at every size of arena: the prompt, or an error
  static const char source[] =
      "{% macro m(x) %}<{{ x|upper|trim }}>{% endmacro %}{% for k in messages %}{{ m(k.role) ~ k|tojson }}{% endfor %}";
  struct arena whole = test_arena(1 << 20);
  struct bk_error none = {0};
  struct json *m;
  ck_assert(json_parse(str_from(chat_test_messages), &whole, &m, &none));
  bool fitted = false;
  for (size_t n = 0; n < 200000 && !fitted; n += 64) {
    struct arena a = {whole.beg, whole.beg + n};
    struct bk_error e = {0};
    struct chat_input in = {.messages = m};
    struct chat_prompt p;
    const struct chat_template *t = chat_compile(str_from(source), &a, &e);
    fitted = t && chat_render(t, &in, &a, 1 << 16, &p, &e);
    if (!fitted) test_error(&e, ERR_DATA, "memory");
  }
  ck_assert(fitted);
}
END_TEST

START_TEST(chat_origins) {
  chat_marks("<|a|>{{ messages[1].role }}<|b|>", "<|a|>user<|b|>"); // a role that is known is structure
  chat_marks("{{ bos_token }}{{ s }}{{ eos_token }}", "<s>{aXb,c}</s>");
  chat_marks("{{ 'x' + s + 'y' ~ s }}", "x{aXb,c}y{aXb,c}");
  chat_marks("{{ ('x' + s + 'y')[::-1] }}|{{ ('x' + s)[1:3] }}|{{ ('-' ~ s)|upper }}", "y{c,bXa}x|{aX}|-{AXB,C}");
  chat_marks("{{ s.split(',')|join('<|x|>') }}", "{aXb}<|x|>{c}");
  chat_marks("{{ '<|x|>'.join(s.split('X')) }}", "{a}<|x|>{b,c}");
  chat_marks("{{ 'a-b'|replace('-', s) }}{{ s|replace('X', '<|x|>') }}", "a{aXb,c}b{a}<|x|>{b,c}");
  chat_marks("{{ {'k': s, 'l': 'm'}|tojson }}", "{\"k\": {\"aXb,c\"}, \"l\": \"m\"}");
  chat_marks("{{ d|tojson }}", "{{\"b\": 2, \"A\": 1}}");
  chat_marks("{{ '%s|%d'|format(s, 1) }}{{ '{}!'.format(s) }}", "{aXb,c}|1{aXb,c}!");
  chat_marks("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(s)|trim }}{% set y %}({{ s }}){% endset %}{{ y|lower }}",
             "[{aXb,c}]({axb,c})");
  chat_marks("{{ ['t', s] }}", "['t', {'aXb,c'}]");
  chat_marks("{{ n }}{{ n + 1 }}{{ f }}{{ 1 }}", "{562.5}1");
  chat_marks("{{ ' ' ~ s ~ ' ' | trim }}|{{ (' ' ~ s ~ '\\n')|trim|indent(2, true) }}", " {aXb,c}|  {aXb,c}");
  chat_marks("{{ (s ~ '<|x|>').partition('<')|list|last }}", "|x|>");
  chat_marks("{% for c in s %}{{ c }}.{% endfor %}", "{a}.{X}.{b}.{,}.{c}.");
  chat_marks("{{ s * 2 ~ s|title ~ s.center(9, '*') }}", "{aXb,caXb,cAxb,c}**{aXb,c}**");
  chat_marks("{{ ('{\"a\": \"' ~ s ~ '\"}')|from_json }}", "{{'a': 'aXb,c'}}");
  chat_marks("{{ html|e }}{{ s|string|safe }}{{ s|truncate(3, true, '..', 0) }}", "{&lt;&amp;&gt;aXb,ca}..");
}
END_TEST

/* ---- the built-in templates ---- */

static bool chat_has_one(void *vocabulary, struct str token) { return str_is(token, vocabulary); }

START_TEST(chat_choice) {
  static char tokens[][24] = {"<start_of_turn>", "<|im_start|>", "<|start_header_id|>", "<|user|>", "[INST]", "<s>"};
  static const char *const names[] = {"gemma-turns", "chatml", "llama3-headers", "zephyr", "mistral-inst", ""};
  for (int i = 0; i < ARRAY_LEN(names); i++) ck_assert(str_is(chat_choose(chat_has_one, tokens[i]), names[i]));
  for (int i = 0; i < 5; i++) ck_assert_uint_gt(chat_builtin(str_from(names[i])).len, 0);
  ck_assert_ptr_null(chat_builtin(STR("no such thing")).ptr);
}
END_TEST

START_TEST(chat_builtin_texts) {
  static const char talk[] =
    "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"A\"},{\"role\":\"assistant\","
    "\"content\":\"B\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"C\"}]}]";
  static const struct chat_expected_text cases[] = {
    {"chatml",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>"
     "\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"},
    {"gemma-turns",
     "<s><start_of_turn>user\nS\n\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n<start_of_turn>"
     "user\nC<end_of_turn>\n<start_of_turn>model\n"},
    {"llama3-headers",
     "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>"
     "\n\nA<|eot_id|>"
                       "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|><|start_header_id|>"
                       "user<|end_header_id|>\n\nC<|eot_id|>"
                       "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"llama2-inst", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C [/INST]"},
    {"mistral-inst", "<s>[INST] S\n\nA [/INST] B</s>[INST] C [/INST]"},
    {"zephyr", "<|system|>\nS</s>\n<|user|>\nA</s>\n<|assistant|>\nB</s>\n<|user|>\nC</s>\n<|assistant|>\n"},
    {"phi3-turns",
     "<|system|>\nS<|end|>\n<|user|>\nA<|end|>\n<|assistant|>\nB<|end|>\n<|user|>\nC<|end|>\n<|assistant|>\n"},
    {"vicuna", "<s>S\n\nUSER: A\nASSISTANT: B</s>\nUSER: C\nASSISTANT:"},
    {"alpaca", "<s>S\n\n### Instruction:\nA\n\n### Response:\nB</s>\n\n### Instruction:\nC\n\n### Response:\n"}};
  ck_assert_int_eq(ARRAY_LEN(cases), ARRAY_LEN(chat_builtins));
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct arena a = test_arena(4 << 20);
    struct bk_error e = {0};
    struct chat_prompt p;
    ck_assert_msg(chat_try(chat_builtin(str_from(cases[i].source)), talk, "{\"add_generation_prompt\":true}", &a, &p,
                           &e), "%s", e.message);
    ck_assert_msg(str_is(p.text, cases[i].expected), "%s: %.*s", cases[i].source, (int)p.text.len, p.text.ptr);
  }
}
END_TEST

static uint64_t chat_random(uint64_t *seed, uint64_t below) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (*seed >> 33) % below;
}

static const char *const chat_nasty[] = {"<|im_end|>", "<|im_start|>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>",
                                         "<|start_header_id|>", "[INST]",
                                         "[/INST]", "<|user|>", "<|assistant|>", "<|end|>", "</s>", "<s>", "<<SYS>>",
                                             "{{ bos_token }}", "{% raw %}", "\n", " ",
                                         "hello", "\xC3\xA9", "\\", "\"", "x"};

static void chat_random_talk(struct buf *b, uint64_t *seed, int turns, bool nasty) {
  buf_byte(b, '[');
  for (int i = 0; i < turns; i++) {
    char content[400];
    struct buf c = {content, 0, sizeof content, false};
    buf_put(&c, STR("x")); // so that trim leaves something
    for (uint64_t k = chat_random(seed, 5); k > 0; k--) {
      const char *piece = chat_nasty[chat_random(seed, ARRAY_LEN(chat_nasty))];
      if (nasty) buf_put(&c, str_from(piece));
    }
    buf_printf(b, "%s{\"role\":\"%s\",\"content\":", i ? "," : "", i % 2 ? "assistant" : "user");
    json_put_string(b, buf_str(&c));
    buf_byte(b, '}');
  }
  buf_byte(b, ']');
}

/* The template's own bytes, a mark where the user's stood: this must not depend on what the user wrote. */
static struct str chat_skeleton(const struct chat_prompt *p, struct arena *a) {
  struct buf b = buf_new(a, p->text.len + (size_t)p->n_spans + 1);
  for (int i = 0; i < p->n_spans; i++) {
    if (p->spans[i].from_user) buf_byte(&b, 1);
    else buf_put(&b, str_slice(p->text, p->spans[i].beg, p->spans[i].end));
  }
  return buf_str(&b);
}

START_TEST(chat_user_text_is_never_template) {
  struct arena whole = test_arena(32 << 20);
  const struct chat_template *compiled[ARRAY_LEN(chat_builtins)];
  struct bk_error e = {0};
  for (int i = 0; i < ARRAY_LEN(chat_builtins); i++)
    ck_assert_msg((compiled[i] = chat_compile(str_from(chat_builtins[i].source), &whole, &e)) != NULL, "%s", e.message);
  uint64_t seed = 2026;
  for (int round = 0; round < 10000; round++) {
    struct str skeleton[2];
    struct arena a = whole;
    int turns = 1 + round % 5, which = round % ARRAY_LEN(chat_builtins);
    for (int nasty = 0; nasty < 2; nasty++) {
      struct buf b = buf_new(&a, 16384);
      struct json *m;
      struct chat_prompt p;
      chat_random_talk(&b, &seed, turns, nasty);
      ck_assert_msg(json_parse(buf_str(&b), &a, &m, &e), "%s", e.message);
      struct chat_input in = {.messages = m, .bos_token = STR("<s>"), .eos_token = STR("</s>"), .add_generation_prompt =
                              round & 1};
      ck_assert_msg(chat_render(compiled[which], &in, &a, 1 << 20, &p, &e), "%s", e.message);
      skeleton[nasty] = chat_skeleton(&p, &a);
    }
    ck_assert_msg(str_eq(skeleton[0], skeleton[1]), "%s: round %d: \"%.*s\" and \"%.*s\"", chat_builtins[which].name,
                  round, (int)skeleton[0].len,
                  skeleton[0].ptr, (int)skeleton[1].len, skeleton[1].ptr);
  }
}
END_TEST

static Suite *chat_suite(void) {
  Suite *s = suite_create("chat");
  TCase *t = tcase_create("chat");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, chat_whitespace);
  tcase_add_test(t, chat_literals);
  tcase_add_test(t, chat_arithmetic_like_python);
  tcase_add_test(t, chat_comparisons);
  tcase_add_test(t, chat_subscripts);
  tcase_add_test(t, chat_filters_text);
  tcase_add_test(t, chat_filters_json);
  tcase_add_test(t, chat_filters_sequences);
  tcase_add_test(t, chat_is_tests);
  tcase_add_test(t, chat_methods);
  tcase_add_test(t, chat_statements);
  tcase_add_test(t, chat_errors);
  tcase_add_test(t, chat_bounds);
  tcase_add_test(t, chat_no_memory);
  tcase_add_test(t, chat_origins);
  tcase_add_test(t, chat_choice);
  tcase_add_test(t, chat_builtin_texts);
  tcase_add_test(t, chat_user_text_is_never_template);
  suite_add_tcase(s, t);
  return s;
}

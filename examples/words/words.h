#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*word_fn)(const char *word, size_t length, void *context);

/* Calls fn for each run of letters in text. */
void split_words(const char *text, size_t length, word_fn fn, void *context);

struct table;
struct table *table_new(void);
void table_add(struct table *table, const char *word, size_t length);
size_t table_count(const struct table *table);
void table_each(const struct table *table, void (*fn)(const char *, size_t, void *), void *context);
void table_free(struct table *table);

#ifdef __cplusplus
}
#endif

#endif

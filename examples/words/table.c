#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct entry {
	struct entry *next;
	size_t count;
	char word[];
};

struct table {
	struct entry *buckets[BUCKETS];
	size_t count;
};

struct table *table_new(void)
{
	return calloc(1, sizeof(struct table));
}

static size_t bucket_of(const char *word, size_t length)
{
	size_t hash = 5381;

	while (length--)
		hash = hash * 33 + (unsigned char)*word++;
	return hash % BUCKETS;
}

void table_add(struct table *table, const char *word, size_t length)
{
	struct entry **place = &table->buckets[bucket_of(word, length)];
	struct entry *entry;

	for (entry = *place; entry; entry = entry->next)
		if (strlen(entry->word) == length && !memcmp(entry->word, word, length))
			break;
	if (!entry) {
		entry = calloc(1, sizeof(*entry) + length + 1);
		if (!entry)
			abort();
		memcpy(entry->word, word, length);
		entry->next = *place;
		*place = entry;
		table->count++;
	}
	entry->count++;
}

size_t table_count(const struct table *table)
{
	return table->count;
}

void table_each(const struct table *table, void (*fn)(const char *, size_t, void *), void *context)
{
	for (size_t at = 0; at < BUCKETS; at++)
		for (const struct entry *entry = table->buckets[at]; entry; entry = entry->next)
			fn(entry->word, entry->count, context);
}

void table_free(struct table *table)
{
	for (size_t at = 0; at < BUCKETS; at++) {
		while (table->buckets[at]) {
			struct entry *entry = table->buckets[at];
			table->buckets[at] = entry->next;
			free(entry);
		}
	}
	free(table);
}

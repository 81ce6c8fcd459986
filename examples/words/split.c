#include "words.h"

#include <ctype.h>

void split_words(const char *text, size_t length, word_fn fn, void *context)
{
	size_t at = 0;

	while (at < length) {
		size_t start;

		while (at < length && !isalpha((unsigned char)text[at]))
			at++;
		start = at;
		while (at < length && isalpha((unsigned char)text[at]))
			at++;
		if (at > start)
			fn(text + start, at - start, context);
	}
}

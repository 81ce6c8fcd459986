#include <iostream>
#include <iterator>
#include <string>

#include "report.h"
#include "words.h"

int main()
{
	const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
	table *words = table_new();
	split_words(
		text.data(), text.size(),
		[](const char *word, size_t length, void *into) {
			table_add(static_cast<table *>(into), word, length);
		},
		words);
	Ranking ranking;
	table_each(
		words,
		[](const char *word, size_t count, void *into) {
			static_cast<Ranking *>(into)->emplace_back(count, word);
		},
		&ranking);
	table_free(words);
	print_ranking(ranking, 10);
}

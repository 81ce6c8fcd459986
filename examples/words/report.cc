#include "report.h"

#include <algorithm>
#include <iomanip>
#include <iostream>

void print_ranking(Ranking ranking, std::size_t most)
{
	std::sort(ranking.rbegin(), ranking.rend());
	ranking.resize(std::min(ranking.size(), most));
	for (const auto &[count, word] : ranking)
		std::cout << std::setw(8) << count << "  " << word << '\n';
}

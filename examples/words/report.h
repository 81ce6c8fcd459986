#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

using Ranking = std::vector<std::pair<std::size_t, std::string>>;

void print_ranking(Ranking ranking, std::size_t most);

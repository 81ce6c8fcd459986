/* Finds the functions that are shadowed, in the symbol tables of the libraries loaded behind this one: dlsym would
 * need libdl before glibc 2.34.
 */
#include "symbols.h"

#include "log.h"
#include "text.h"

typedef struct {
    u64 tag, value;
} Dynamic;
typedef struct {
    u32 name;
    u8 info, other;
    u16 section;
    u64 value, size;
} Symbol;
extern const Dynamic _DYNAMIC[] __attribute__((visibility("hidden")));

typedef struct {
    const char *name;
    void *found;
    int is_behind_us;
} Search;

/* glibc relocates the pointers of a dynamic section in place, musl and the vdso do not. */
static const void *pointer_in(const Library *library, u64 value)
{
    return (const void *)(value < library->base ? value + library->base : value);
}

static int is_wanted(const Symbol *symbol, const char *strings, const char *name)
{
    int type = symbol->info & TYPE_MASK;
    return symbol->section && (type == TYPE_FUNCTION || type == TYPE_RESOLVER) &&
           is_equal(strings + symbol->name, name);
}

typedef struct {
    const Symbol *symbols;
    const char *strings;
    const u16 *versions;
    const u32 *gnu, *sysv;
} Tables;

/* The symbol of this name at an index, the default version before hidden ones. */
static const Symbol *better(const Tables *t, u32 at, const char *name, const Symbol *best)
{
    if (!is_wanted(t->symbols + at, t->strings, name))
        return best;
    return !best || !t->versions || !(t->versions[at] & VERSION_HIDDEN) ? t->symbols + at : best;
}

static const Symbol *find_gnu(const Tables *t, const char *name)
{
    u32 hash = 5381, buckets = t->gnu[0], first = t->gnu[1];
    const u32 *bucket = t->gnu + 4 + 2 * t->gnu[2], *chain = bucket + buckets;
    const Symbol *best = NULL;
    if (!buckets)
        return NULL;
    for (const char *c = name; *c; c++)
        hash = hash * 33 + (u8)*c;
    u32 at = bucket[hash % buckets];
    if (at < first)
        return NULL;
    for (;; at++) {
        if ((chain[at - first] | 1) == (hash | 1))
            best = better(t, at, name, best);
        if (chain[at - first] & 1)
            return best;
    }
}

static const Symbol *find_sysv(const Tables *t, const char *name)
{
    const Symbol *best = NULL;
    for (u32 at = 1; at < t->sysv[1]; at++)
        best = better(t, at, name, best);
    return best;
}

static int look_in(Library *library, size_t size, void *state)
{
    Search *search = state;
    const Dynamic *dynamic = NULL;
    Tables t = {0};
    (void)size;
    for (u16 i = 0; i < library->count; i++)
        if (library->segments[i].type == SEGMENT_DYNAMIC)
            dynamic = (const Dynamic *)(library->base + library->segments[i].vaddr);
    if (dynamic == _DYNAMIC)
        search->is_behind_us = 1;
    if (!dynamic || dynamic == _DYNAMIC || !search->is_behind_us)
        return 0;
    for (; dynamic->tag; dynamic++) {
        const void *pointer = pointer_in(library, dynamic->value);
        if (dynamic->tag == TAG_HASH)
            t.sysv = pointer;
        if (dynamic->tag == TAG_STRTAB)
            t.strings = pointer;
        if (dynamic->tag == TAG_SYMTAB)
            t.symbols = pointer;
        if (dynamic->tag == TAG_GNU_HASH)
            t.gnu = pointer;
        if (dynamic->tag == TAG_VERSYM)
            t.versions = pointer;
    }
    if (!t.symbols || !t.strings)
        return 0;
    const Symbol *found = t.gnu ? find_gnu(&t, search->name) : t.sysv ? find_sysv(&t, search->name) : NULL;
    if (!found)
        return 0;
    search->found = (void *)(library->base + found->value);
    if ((found->info & TYPE_MASK) == TYPE_RESOLVER)
        search->found = ((void *(*)(void))search->found)();
    return 1;
}

void *next_symbol(const char *name)
{
    Search search = {name, NULL, 0};
    dl_iterate_phdr(look_in, &search);
    return search.found;
}

long fail_absent(void)
{
    mark_flawed();
    *__errno_location() = NOSYS;
    return -1;
}

void *find_nothing(void)
{
    fail_absent();
    return NULL;
}

/* Runs inputs from files, one after the other: a fuzzer's main() without one.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

static void replay(const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "rb");

    fuzz_require(file && fstat(fileno(file), &st) == 0);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    fuzz_require(data);
    size_t bytes = fread(data, 1, (size_t)st.st_size, file);
    fclose(file);
    /* Said before, so that the last line names the one that never ended; and
     * run from a buffer of just that size, for the sanitizer's sake. */
    printf("%s\n", path);
    fflush(stdout);
    uint8_t *exact = malloc(bytes ? bytes : 1);
    fuzz_require(exact);
    memcpy(exact, data, bytes);
    free(data);
    LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static unsigned replay_folder(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, visible, alphasort);

    fuzz_require(count >= 0);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        replay(path);
        free(entries[i]);
    }
    free(entries);
    return (unsigned)count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        fuzz_require(stat(argv[i], &st) == 0);
        if (S_ISDIR(st.st_mode)) {
            count += replay_folder(argv[i]);
        } else {
            replay(argv[i]);
            count++;
        }
    }
    printf("%u inputs\n", count);
    /* Nothing was shown by running nothing. */
    return count ? EXIT_SUCCESS : EXIT_FAILURE;
}

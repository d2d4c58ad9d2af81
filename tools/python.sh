# To be sourced: which Python makes the virtual environment.

# Print the first interpreter of 3.11 or newer that can make a virtual environment; fails when there is none.
# PYTHON=... in the environment is looked at first.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

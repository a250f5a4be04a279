#!/bin/bash
# The phases in which DevStack calls Figlina; what is done in them is in lib/figlina.

source "$FIGLINA_DIR/devstack/lib/figlina"

if is_service_enabled octavia; then
    case "$1 ${2:-}" in
        "stack pre-install")
            check_figlina_settings
            ;;
        "stack install")
            echo_summary "Installing Figlina"
            install_figlina
            ;;
        "stack post-config")
            echo_summary "Configuring Figlina"
            configure_figlina
            ;;
        "stack extra")
            echo_summary "Preparing the cloud for Figlina"
            init_figlina
            echo_summary "Starting Figlina"
            start_figlina
            ;;
        "stack test-config")
            check_figlina
            ;;
        "unstack ")
            stop_figlina
            ;;
        "clean ")
            cleanup_figlina
            ;;
    esac
fi

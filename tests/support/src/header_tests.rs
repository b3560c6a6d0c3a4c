//! The tests that stages 06 to 08 have in common, by name.
//!
//! The three stages move the same bytes over the same wire, each in its own way. So each has to
//! pass all of these, under the same names; what is its own stands in its own file in `tests/`.

/// Makes a test of every line `name => module::check(arguments);`. The modules are those of this
/// crate.
#[macro_export]
macro_rules! tests {
    ($($name:ident => $module:ident::$check:ident($($argument:tt)*);)*) => {
        $(
            #[test]
            fn $name() {
                let _ = $crate::$module::$check($($argument)*);
            }
        )*
    };
}

/// All tests that stages 06 to 08 have in common. The file that asks for them depends on
/// `serial_test`.
#[macro_export]
macro_rules! header_tests {
    ($stage:expr) => {
        $crate::tests! {
            // What is on the wire.
            every_size_from_one_byte_up_is_sent => header_habits::sends_every_size($stage);
            empty_file_is_sent => header_habits::sends_an_empty_file($stage);
            header_and_file_are_all_that_is_sent =>
                header_habits::sends_header_file_and_nothing_else($stage);
            header_and_data_leave_together => costs::header_and_data_leave_together($stage);
            name_on_the_wire_has_no_directory =>
                serving::sends_the_name_without_its_directory($stage);
            server_sends_its_own_executable_by_default =>
                serving::sends_its_own_executable_by_default($stage);

            // A client that means well.
            get_receives_every_size_from_one_byte_up => header_habits::gets_every_size($stage);
            get_receives_an_empty_file => header_habits::gets_an_empty_file($stage);
            get_shows_its_progress_to_the_end => header_habits::shows_progress($stage);
            every_legal_name_survives_the_trip => receiving::takes_every_legal_name($stage);
            old_file_is_replaced_as_a_whole => receiving::replaces_an_old_file_as_a_whole($stage);
            link_of_that_name_is_not_followed => receiving::replaces_a_link($stage);
            get_works_over_ipv6 => receiving::gets_over_ipv6($stage);

            // Many clients.
            as_many_clients_as_workers_are_served_at_once =>
                serving::serves_as_many_at_once_as_it_has_workers($stage);
            nobody_is_dropped_when_all_workers_are_busy =>
                serving::drops_nobody_when_all_workers_are_busy($stage);
            no_more_clients_than_workers_are_served_at_once =>
                serving::serves_no_more_at_once_than_it_has_workers($stage);
            many_clients_at_once_get_the_whole_file => receiving::many_at_once_get_the_file($stage);
            three_hundred_clients_leave_no_descriptor_behind =>
                serving::leaves_no_descriptor_behind($stage);
            hundred_broken_transfers_leave_no_mapping_behind =>
                header_habits::leaves_no_mapping_behind($stage);

            // Clients that misbehave, and a worker that dies.
            worker_survives_clients_that_close_midway =>
                serving::worker_survives_clients_that($stage, drop);
            worker_survives_clients_that_reset_midway =>
                serving::worker_survives_clients_that($stage, $crate::wire::RawClient::reset);
            next_client_gets_nothing_of_a_broken_transfer =>
                header_habits::next_client_gets_nothing_of_a_broken_transfer($stage);
            client_that_talks_while_it_receives_gets_every_byte =>
                serving::sends_all_to_a_client_that_talks($stage);
            client_that_stops_reading_is_given_up =>
                serving::gives_up_a_client_that_stops_reading($stage);
            slow_but_steady_client_is_not_cut => serving::bears_with_a_slow_client($stage);
            worker_that_is_stopped_for_a_moment_goes_on => serving::goes_on_after_a_stop($stage);
            killed_worker_costs_only_its_own_client =>
                serving::killed_worker_costs_only_its_own_client($stage);
            killed_worker_is_replaced => serving::killed_worker_is_replaced($stage);
            get_says_that_its_worker_was_killed =>
                header_habits::get_reports_a_killed_worker($stage);

            // A file that changes.
            size_and_contents_come_from_the_same_file => serving::looks_at_its_file_once($stage);
            replaced_file_is_seen => serving::sees_a_replaced_file($stage);
            file_that_is_replaced_midway_is_sent_to_its_end =>
                header_habits::goes_on_with_a_file_that_is_replaced($stage);
            removed_file_is_sent_to_its_end => serving::finishes_a_removed_file($stage);
            growing_file_is_sent_as_announced => serving::stops_at_the_announced_size($stage);
            shrinking_file_is_never_filled_up =>
                header_habits::never_fills_up_a_file_that_shrinks($stage);
            get_says_that_a_shrinking_file_ended_early =>
                header_habits::get_reports_a_file_that_shrinks($stage);

            // A server that can't be trusted.
            client_refuses_names_that_are_paths => receiving::refuses_hostile_names($stage);
            client_names_what_it_refuses => header_habits::names_what_it_refuses($stage);
            client_refuses_impossible_name_lengths =>
                receiving::refuses_impossible_name_lengths($stage);
            client_refuses_a_negative_size => header_habits::refuses_a_negative_size($stage);
            client_survives_an_absurd_size => header_habits::survives_an_absurd_size($stage);
            client_takes_no_more_than_announced =>
                header_habits::takes_no_more_than_announced($stage);
            control_characters_never_reach_the_terminal =>
                receiving::shows_no_control_characters($stage);
            stream_that_ends_early_is_an_error_at_every_byte =>
                header_habits::reports_every_early_end($stage);
            reset_instead_of_an_end_is_an_error => receiving::reports_a_reset($stage);
            stream_that_comes_byte_by_byte_is_received =>
                receiving::takes_a_stream_byte_by_byte($stage);
            server_that_stops_sending_is_given_up =>
                receiving::gives_up_a_server_that_stops_sending($stage);
            slow_but_steady_server_is_not_given_up => receiving::bears_with_a_slow_server($stage);

            // What is left behind, and what it costs.
            get_leaves_nothing_when_interrupted =>
                receiving::leaves_nothing_when_ended_by($stage, $crate::server::Signal::SIGINT);
            get_leaves_nothing_when_terminated =>
                receiving::leaves_nothing_when_ended_by($stage, $crate::server::Signal::SIGTERM);
            full_disk_is_an_error_and_leaves_nothing => receiving::reports_a_full_disk($stage);
            memory_of_a_worker_is_bounded => serving::worker_memory_is_bounded($stage);
            memory_of_the_client_is_bounded => receiving::client_memory_is_bounded($stage);
            idle_server_sleeps => header_habits::sleeps_when_idle($stage);
            worker_sleeps_while_its_client_does_not_read => costs::waiting_worker_sleeps($stage);
            get_sleeps_while_nothing_comes => costs::waiting_get_sleeps($stage);
            server_never_sleeps_while_it_has_something_to_send =>
                costs::sends_without_a_sleep($stage);

            // The command line.
            file_has_to_be_a_regular_file => serving::refuses_to_serve_what_is_no_file($stage);
            file_has_to_be_readable => serving::refuses_to_serve_an_unreadable_file($stage);
            out_has_to_be_a_directory => receiving::reports_a_bad_out($stage);
            closed_port_is_an_error => receiving::reports_a_closed_port($stage);
            port_in_use_is_an_error => habits::reports_port_in_use($stage.bin());
            server_restarts_on_its_port_at_once => header_habits::restarts_on_its_port($stage);
            unknown_host_is_an_error => habits::reports_unknown_host($stage.bin());
            nonsense_on_the_command_line_is_refused => header_habits::refuses_nonsense($stage);
            server_says_what_to_type_and_who_speaks =>
                header_habits::says_what_to_type_and_who_speaks($stage);
            quiet_server_says_nothing => serving::says_nothing_when_quiet($stage);
            descriptors_are_close_on_exec => header_habits::closes_on_exec($stage);
            workers_go_with_their_parent => header_habits::workers_go_with_their_parent($stage);
            demo_succeeds_and_leaves_nobody => habits::demo_succeeds($stage.bin());
        }

        #[test]
        #[::serial_test::serial]
        fn defaults_are_those_of_the_notes() {
            $crate::header_habits::defaults_are_those_of_the_notes($stage);
        }

        #[test]
        #[::serial_test::serial]
        fn file_over_4_gib_is_sent_whole() {
            let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
            $crate::header_habits::sends_more_than_4_gib($stage, dir);
        }
    };
}

/// The tests that stages 07 and 08 have in common beyond those.
#[macro_export]
macro_rules! splice_tests {
    ($stage:expr) => {
        $crate::tests! {
            server_splices_the_file => evidence::server_splices_the_file($stage);
            get_splices_the_file => evidence::client_splices_the_file($stage);
            pipe_is_large_where_the_system_allows => evidence::pipe_is_large($stage);
            server_gets_by_with_small_pipes => pipes::server_gets_by_with_small_ones($stage);
            get_gets_by_with_small_pipes => pipes::client_gets_by_with_small_ones($stage);
        }
    };
}

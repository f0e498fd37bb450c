package main

func Example() {
	main()
	// Output: hello earth, hello moon, hello sun
}
